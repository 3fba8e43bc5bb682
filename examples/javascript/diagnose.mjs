// Diagnoses photos with Node's own fetch: node diagnose.mjs [--url URL] PHOTO…   (or the URL in the environment: CROPSHIELD_URL)
// The same code runs in a browser with a File instead of the bytes.
import { readFile } from 'node:fs/promises';

const paths = process.argv.slice(2);
let url = process.env.CROPSHIELD_URL ?? 'http://127.0.0.1:8501';
if (paths[0] === '--url' && paths.length > 1) [, url] = paths.splice(0, 2);

if (paths.length === 0 || paths[0] === '--url') {
  paths.length = 0;
  console.error('usage: node diagnose.mjs [--url URL] PHOTO…');
  process.exitCode = 2;
}

async function diagnose(path) {
  const body = await readFile(path);
  let answer;
  try {
    answer = await fetch(`${url}/api/v1/predict?top_k=3`, { method: 'POST', body });
  } catch (error) {
    throw new Error(`no answer from ${url}: ${error.cause?.message || error.cause?.code || error.message}`);
  }
  const diagnosis = await answer.json();
  if (!answer.ok) throw new Error(`${diagnosis.error.code}: ${diagnosis.error.message}`);
  return diagnosis;
}

for (const path of paths) {
  let diagnosis;
  try {
    diagnosis = await diagnose(path);
  } catch (error) {
    console.error(`${path}: ${error.message}`);
    process.exitCode = 1;
    continue;
  }
  const [best] = diagnosis.predictions;
  console.log(`${path}: ${best.label} ${(100 * best.probability).toFixed(1)} % (${diagnosis.verdict})`);
}
