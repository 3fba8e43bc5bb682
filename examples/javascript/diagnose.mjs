// Diagnoses photos with Node's own fetch: node diagnose.mjs PHOTO…      (URL in the environment variable CROPSHIELD_URL)
// The same code runs in a browser with a File instead of the bytes.
import { readFile } from 'node:fs/promises';

const url = process.env.CROPSHIELD_URL ?? 'http://127.0.0.1:8501';

for (const path of process.argv.slice(2)) {
  const answer = await fetch(`${url}/api/v1/predict?top_k=3`, { method: 'POST', body: await readFile(path) });
  const diagnosis = await answer.json();
  if (!answer.ok) {
    console.error(`${path}: ${diagnosis.error.code}: ${diagnosis.error.message}`);
    process.exitCode = 1;
    continue;
  }
  const [best] = diagnosis.predictions;
  console.log(`${path}: ${best.label} ${(100 * best.probability).toFixed(1)} % (${diagnosis.verdict})`);
}
