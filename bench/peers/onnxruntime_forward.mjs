// ONNX Runtime (npm package onnxruntime-node) on the exported network; one JSON line.
// node onnxruntime_forward.mjs DIR THREADS BATCH ITERATIONS [MODEL]     (MODEL: a file of DIR, model.onnx)
import { readFileSync } from 'node:fs';
import ort from 'onnxruntime-node';

const dir = process.argv[2];
const [threads, batch, iterations] = process.argv.slice(3, 6).map(Number);
const warmup = Math.min(5, iterations);
const model = process.argv[6] ?? 'model.onnx';
const floats = (name) => {
  const bytes = readFileSync(`${dir}/${name}`);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
};
const session = await ort.InferenceSession.create(`${dir}/${model}`, {
  intraOpNumThreads: threads, interOpNumThreads: 1, graphOptimizationLevel: 'all', executionProviders: ['cpu'],
});
const input = { input: new ort.Tensor('float32', floats('input.bin').slice(0, batch * 3 * 224 * 224), [batch, 3, 224, 224]) };
const want = floats('logits.bin');
const times = [];
let output;
for (let i = 0; i < warmup + iterations; i++) {
  const start = process.hrtime.bigint();
  output = await session.run(input);
  if (i >= warmup) times.push(Number(process.hrtime.bigint() - start) / 1e6);
}
const got = output[Object.keys(output)[0]].data;
let error = 0;
for (let i = 0; i < got.length; i++) error = Math.max(error, Math.abs(got[i] - want[i]));
times.sort((a, b) => a - b);
console.log(JSON.stringify({ engine: 'onnxruntime', threads, batch, p50: times[times.length >> 1], min: times[0], max: times.at(-1), max_abs_error: error }));
