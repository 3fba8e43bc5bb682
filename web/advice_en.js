/*
 * General information for every class of the reference model, in English. Neutral: what it is, what to look at next, and what
 * growers commonly do about hygiene. No products, no doses: those depend on country, crop stage and law.
 * Keys are class names; `urgent` marks what spreads fast enough that asking for help should not wait.
 */
const healthy = (crop) => ({
    about: `A leaf of this class shows none of the ${crop} diseases that CropShield knows. That is not a proof of health: an early infection can be invisible, and roots, stems and fruit are not in the picture.`,
    look: [
        "Look at the underside of the leaf and at a few leaves at other heights.",
        "Take another photo in a few days if the plant worries you.",
    ],
    care: "Regular walks through the crop find problems while they are small.",
});

export const advice = {
    Potato__early_blight: {
        about: "Early blight is a leaf disease caused by Alternaria fungi. It makes brown spots with fine rings, like a target, often bordered by leaf veins and a yellow edge.",
        look: [
            "It usually starts on the oldest, lowest leaves and on plants that lack water or nutrients.",
            "Rings inside the spots speak for early blight; pale, water-soaked patches with white fluff underneath speak for late blight.",
            "Look at tubers for dark, slightly sunken dry spots.",
        ],
        care: "Crop rotation, removal of plant remains, even watering and feeding, and dry foliage are the usual groundwork.",
    },
    Potato__healthy: healthy("potato"),
    Potato__late_blight: {
        about: "Late blight is caused by the water mould Phytophthora infestans. In cool, wet weather it can destroy a crop within days and travels to neighbouring fields through the air.",
        look: [
            "Look for dark, water-soaked patches with a pale green edge, often at leaf tips and margins.",
            "In damp weather, check the underside for a thin white growth at the edge of the patches.",
            "Look for dark stretches on stems and reddish-brown, firm rot in tubers.",
        ],
        care: "Do not leave infected plants or cull heaps lying open. Tell neighbours who grow potatoes or tomatoes; some regions ask for a report.",
        urgent: true,
    },
    Sugarcane__bacterial_blight: {
        about: "A bacterial leaf disease: long, water-soaked streaks along the veins that turn yellow to brown and dry out. Several bacteria look alike on the leaf; only a laboratory can name the one at work.",
        look: [
            "Follow the streaks: do they run along the veins and join into larger dead areas?",
            "Look at the youngest leaves and the growing point for rot.",
            "Check whether neighbouring stools show the same streaks.",
        ],
        care: "Healthy seed cane and clean cutting tools are the usual groundwork; bacteria travel with water, wind-driven rain and blades.",
    },
    Sugarcane__healthy: healthy("sugarcane"),
    Sugarcane__red_rot: {
        about: "Red rot is caused by the fungus Colletotrichum falcatum. On leaves it shows as red marks along the midrib, often with a straw-coloured centre; the greater damage happens inside the stalk.",
        look: [
            "Split a suspicious stalk lengthwise: red tissue crossed by whitish patches, and a sour smell, are typical.",
            "Look for yellowing and drying of the upper leaves.",
            "Mark affected stools so that they are not used for planting.",
        ],
        care: "Healthy planting material, resistant varieties, drainage and removal of affected stools are the usual groundwork.",
        urgent: true,
    },
    Sugarcane__red_stripe: {
        about: "Red stripe is caused by the bacterium Acidovorax avenae. Thin, straight, water-soaked lines along the veins turn dark red, mostly on young leaves. It can go on to rot the top of the stalk.",
        look: [
            "Are the stripes narrow, even and parallel to the veins? Rust, in contrast, makes small raised pustules.",
            "Look at the underside for whitish flakes of dried bacteria.",
            "Check the growing point for rot with a bad smell.",
        ],
        care: "Less susceptible varieties, clean tools and healthy planting material are the usual groundwork.",
    },
    Sugarcane__rust: {
        about: "Rust of sugarcane is caused by Puccinia fungi (brown rust and orange rust). Small, long pustules, mostly on the underside, break open and release brown or orange spores.",
        look: [
            "Rub the underside with a finger or white cloth: rust leaves coloured powder.",
            "Brown or orange powder tells the two rusts apart; a specialist can confirm it.",
            "Look at how many leaves are affected and how high up.",
        ],
        care: "Resistant varieties and balanced feeding are the usual groundwork.",
    },
    Tomato__bacterial_spot: {
        about: "Bacterial spot is caused by Xanthomonas bacteria. It makes many small, dark, greasy-looking spots, sometimes with a yellow edge, on leaves, stems and fruit.",
        look: [
            "Look for small, raised, scab-like spots on green fruit.",
            "Hold a leaf against the light: young spots look water-soaked.",
            "Septoria spots, in contrast, have a grey centre with tiny black dots.",
        ],
        care: "It travels with seed, splashing water, hands and tools. Clean seed and transplants, watering at the base and not working among wet plants are the usual groundwork.",
    },
    Tomato__early_blight: {
        about: "Early blight is caused by Alternaria fungi. Brown spots with rings like a target grow on the older leaves, which then turn yellow and drop.",
        look: [
            "Start at the lowest leaves: it usually moves up the plant.",
            "Look for the rings inside the spots, and for dark, sunken areas at the stem end of fruit.",
            "Target spot looks similar: when in doubt, only a laboratory can tell.",
        ],
        care: "Removal of affected lower leaves and plant remains, crop rotation, mulch against splashing soil and dry foliage are the usual groundwork.",
    },
    Tomato__healthy: healthy("tomato"),
    Tomato__late_blight: {
        about: "Late blight is caused by the water mould Phytophthora infestans, the same that attacks potatoes. In cool, wet weather it can ruin plants and fruit within days.",
        look: [
            "Look for large, dark, water-soaked patches, often starting at the leaf edge, with a pale green border.",
            "In damp weather, check the underside for a thin white growth.",
            "Look for brown stretches on stems and firm, brown, greasy areas on fruit.",
        ],
        care: "Do not leave infected plants lying open or compost them loosely. Tell neighbours who grow tomatoes or potatoes; some regions ask for a report.",
        urgent: true,
    },
    Tomato__leaf_mold: {
        about: "Leaf mould is caused by the fungus Passalora fulva (also called Cladosporium fulvum). It is mostly a disease of greenhouses and tunnels with damp, still air.",
        look: [
            "Pale yellow patches on the upper side with an olive-green to brown velvet exactly underneath are typical.",
            "Older leaves are hit first.",
            "Check how damp the air stays overnight and whether leaves dry in the morning.",
        ],
        care: "Airing, wider spacing, removal of affected leaves and dry foliage are the usual groundwork.",
    },
    Tomato__mosaic_virus: {
        about: "Mosaic viruses (tomato mosaic virus and relatives) make leaves mottled light and dark green, sometimes narrow like fern leaves, and stunt the plant. There is no cure for an infected plant.",
        look: [
            "Compare young leaves of several plants: mottling without spots speaks for a virus.",
            "Weed-killer drift and other viruses can look alike: a laboratory test decides.",
            "Look for uneven ripening or brown streaks in the fruit.",
        ],
        care: "It spreads by touch, tools, clothing and seed. Washing hands and tools, removing infected plants and healthy seed are the usual groundwork.",
    },
    Tomato__septoria_leaf_spot: {
        about: "Septoria leaf spot is caused by the fungus Septoria lycopersici. Many small round spots with a grey centre and a dark edge appear, first on the lower leaves.",
        look: [
            "With a hand lens, look for tiny black dots in the grey centres.",
            "Fruit is rarely affected: spots on fruit speak for another disease.",
            "Look at how far up the plant the spots have moved.",
        ],
        care: "Removal of affected lower leaves and plant remains, crop rotation, mulch and dry foliage are the usual groundwork.",
    },
    "Tomato__spider_mites_(two_spotted_spider_mite)": {
        about: "Not a disease but an animal: the two-spotted spider mite (Tetranychus urticae) sucks at the underside of leaves. Fine pale dots join until the leaf looks bronzed and dry.",
        look: [
            "With a hand lens, look at the underside for tiny moving dots, eggs and fine webs.",
            "Tap a leaf over white paper: mites fall off and crawl.",
            "Look first at the hottest and driest places of the crop.",
        ],
        care: "Heat and dust help mites. Even watering, less dust and care for their natural enemies are the usual groundwork.",
    },
    Tomato__target_spot: {
        about: "Target spot is caused by the fungus Corynespora cassiicola, mostly in warm, humid weather. Small water-soaked spots grow into brown spots with lighter centres and faint rings.",
        look: [
            "It is easily taken for early blight or bacterial spot: a laboratory can tell them apart.",
            "Look at the inner, shaded leaves, where it often starts.",
            "Look for small sunken spots on fruit.",
        ],
        care: "Air between the plants, removal of affected leaves and plant remains, and dry foliage are the usual groundwork.",
    },
    Tomato__yellow_leaf_curl_virus: {
        about: "Tomato yellow leaf curl virus is carried by whiteflies. Young leaves stay small, cup upwards and turn yellow at the edges; the plant stays short and sets little fruit. There is no cure for an infected plant.",
        look: [
            "Turn young leaves over and look for whiteflies: small, white, flying up when touched.",
            "Look at the newest growth: only leaves formed after the infection curl.",
            "Lack of nutrients and weed-killer drift can look alike: a laboratory test decides.",
        ],
        care: "Removal of infected plants and weeds, insect nets over young plants and resistant varieties are the usual groundwork.",
    },
    Wheat__brown_rust: {
        about: "Brown rust, or leaf rust, is caused by the fungus Puccinia triticina. Small round, orange-brown pustules lie scattered over the leaf, mostly on the upper side.",
        look: [
            "Rub the leaf: rust leaves orange-brown powder on the finger.",
            "Scattered round pustules speak for brown rust; yellow pustules in rows along the veins speak for yellow rust.",
            "Check the flag leaf: it matters most for the yield.",
        ],
        care: "Resistant varieties and the removal of volunteer wheat are the usual groundwork.",
    },
    Wheat__healthy: healthy("wheat"),
    Wheat__septoria: {
        about: "Septoria tritici blotch is caused by the fungus Zymoseptoria tritici. Long, tan, dead blotches follow the veins, starting on the lower leaves; rain splashes it upwards.",
        look: [
            "With a hand lens, look for rows of tiny black dots inside the blotches.",
            "Check leaf by leaf how high it has climbed towards the flag leaf.",
            "Think back: wet weather two to four weeks ago fits its slow start.",
        ],
        care: "Less susceptible varieties, later sowing, crop rotation and the burying of stubble are the usual groundwork.",
    },
    Wheat__yellow_rust: {
        about: "Yellow rust, or stripe rust, is caused by the fungus Puccinia striiformis. On grown leaves, yellow to orange pustules stand in stripes along the veins. It likes cool, damp weather and can spread quickly.",
        look: [
            "Rub the leaf: rust leaves yellow-orange powder on the finger.",
            "Look for patches of yellowed plants in the field: it often starts in such spots.",
            "Check the newest leaves and the ears.",
        ],
        care: "Resistant varieties, early and regular checks, and the removal of volunteer wheat are the usual groundwork.",
        urgent: true,
    },
};
