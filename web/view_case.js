/*
 * The joint answer for several photos of one plant: verdict, how many agree, what is known about the class, and a way to share it.
 */
import { announce, byId, h, replace } from "./dom.js";
import { probability } from "./format.js";
import { plural, t } from "./i18n.js";
import { light } from "./icons.js";
import { verdictLight } from "./labels.js";
import { shareButton } from "./share.js";
import { get, itemOf, on } from "./state.js";
import { drawAdvice, drawBefore, drawHonesty, drawPlant, hasAdvice, titleOf } from "./view_verdict.js";

const tooMany = (joint) => t("case.too_many", { most: joint.most, count: joint.tooMany });

const drawNone = (joint) => [h("h3", { text: t("case.none") }), h("p", { text: tooMany(joint) })];

/* "Tomato: late blight, 71 %. 1 of 2 photos agrees. The photos disagree. …" */
function sentenceOf(joint) {
    const label = titleOf(joint);
    const sentences = [
        joint.verdict === "not_a_leaf"
            ? label + "."
            : t("case.sentence", { label, probability: probability(joint.predictions[0].probability) }),
    ];
    if (joint.photos > 1) {
        sentences.push(plural("case.agree", Math.round(joint.agreement * joint.photos), { photos: joint.photos }));
        if (joint.agreement <= 0.5) sentences.push(t("case.few"));
    }
    return sentences.join(" ");
}

function drawJoint(joint) {
    return [
        h("h3", { text: plural("case.title", joint.photos) }),
        h(
            "p",
            { class: "case-verdict" },
            h(
                "span",
                { class: `badge badge-${joint.verdict}` },
                light(verdictLight(joint.verdict)),
                t("verdict." + joint.verdict),
            ),
        ),
        h("p", { id: "case-sentence", text: sentenceOf(joint) }),
        drawHonesty(joint, hasAdvice(joint)),
        drawPlant(joint),
        drawBefore({ diagnosis: joint, file: true }),
        drawAdvice(joint, "advice", "case-advice-title"),
        shareButton(joint, plural("case.name", joint.photos)),
    ];
}

function draw() {
    const joint = get("plantCase");
    const place = byId("case");
    place.hidden = !joint;
    replace(place, joint && (joint.tooMany ? drawNone(joint) : drawJoint(joint)));
}

/* A new answer is told; one that came back because no newer one did is not: why, is told instead. */
function say(joint) {
    if (!joint || joint.keys.some((key) => itemOf(key) && itemOf(key).kept)) return;
    announce(joint.tooMany ? tooMany(joint) : `${plural("case.title", joint.photos)}. ${sentenceOf(joint)}`);
}

export function start() {
    on(["plantCase", "plant"], draw);
    on("plantCase", say);
    on("option", (_, name) => name === "advice" && draw());
}
