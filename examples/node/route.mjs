// Classify a prompt with a router-ml artifact, without Python.
//
//   npm install --ignore-scripts        (the scripts would download GPU libraries)
//   node route.mjs ../../models/default "Prove that √2 is irrational"
//   node route.mjs ../../models/default --golden
//
// It needs model.onnx, the labels and thresholds of config.json, and the bytes of a
// prompt: the features are computed inside the graph. `--golden` replays the artifact's
// golden rows, and exits 1 if any probability is not the one recorded.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import * as ort from "onnxruntime-node";

const TOLERANCE = 1e-5;
const SEPARATOR = 0x1e; // between a turn and its context; a text has no control characters

// How text version 2 reads a prompt: router_ml/request.py, and here for one user turn.
const TEXT_VERSION = 2;
const TURN_BYTES = 512; // and characters: a longer text is cut before it is encoded
const HEAD = 176;
const WINDOW = 52;
const WINDOWS = 3;
const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;

/** Return the bytes the graph reads of a prompt: all of a short one, samples of a long one. */
function bytesOf(prompt) {
  const characters = prompt.length > TURN_BYTES ? Array.from(prompt) : [];
  if (characters.length > TURN_BYTES) {
    return sample(characters, (slice) => encode(slice.join("")));
  }
  const bytes = encode(prompt);
  return bytes.length > TURN_BYTES ? sample(bytes, (slice) => slice) : bytes;
}

/** Return UTF-8 in which newline and tab are the only control characters. */
function encode(text) {
  const clean = (byte) => (byte === 13 ? 10 : byte < 32 && byte !== 9 && byte !== 10 ? 32 : byte);
  return Buffer.from(text.replace(LONE_SURROGATE, "?"), "utf8").map(clean);
}

/** Return head, evenly spaced windows and tail, joined by newlines. */
function sample(whole, toBytes) {
  const gap = (whole.length - 2 * HEAD - WINDOW) / (WINDOWS + 1);
  const starts = Array.from({ length: WINDOWS }, (_, at) => Math.floor(HEAD + gap * (at + 1)));
  const pieces = [
    toBytes(whole.slice(0, HEAD)).subarray(0, HEAD),
    ...starts.map((at) => toBytes(whole.slice(at, at + WINDOW)).subarray(0, WINDOW)),
    toBytes(whole.slice(-HEAD)).subarray(-HEAD),
  ];
  const newline = Buffer.from("\n");
  return Buffer.concat(pieces.flatMap((piece, at) => (at ? [newline, piece] : [piece])));
}

/** Return the bytes of a golden row, which were cut and cleaned when it was written. */
function bytesOfRow({ turn, context }) {
  const before = context ? [Buffer.from([SEPARATOR]), Buffer.from(context, "utf8")] : [];
  return Buffer.concat([Buffer.from(turn, "utf8"), ...before]);
}

/** Open an artifact: its config, and a function from bytes to probabilities. */
async function open(directory) {
  const config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  const { kind, text_version: version } = config.input;
  if (config.schema_version !== 1 || kind !== "bytes" || version !== TEXT_VERSION) {
    throw new Error(`${directory} is not an artifact of schema 1 that reads bytes, version 1.`);
  }
  const options = { intraOpNumThreads: 1, interOpNumThreads: 1 };
  const session = await ort.InferenceSession.create(join(directory, "model.onnx"), options);
  const classify = async (bytes) => {
    const row = Uint8Array.from(bytes.length ? bytes : [32]);
    const feed = { bytes: new ort.Tensor("uint8", row, [1, 1, row.length]) };
    return (await session.run(feed)).probabilities.data;
  };
  return { config, classify };
}

/** Return the labels that hold: the most probable if there can be but one, else all. */
function holding({ labels, thresholds, single_label: single }, row) {
  const best = row.indexOf(Math.max(...row));
  return labels.filter((label, at) => row[at] >= thresholds[label] && (!single || at === best));
}

/** Print a prompt's probabilities and the labels that hold. */
async function show({ config, classify }, prompt) {
  const row = await classify(bytesOf(prompt));
  config.labels.forEach((label, at) => console.log(`${label.padEnd(12)} ${row[at].toFixed(6)}`));
  console.log(`labels: ${holding(config, row).join(", ") || "(none)"}`);
}

/** Replay the golden rows; return whether every probability is the one recorded. */
async function replay({ classify }, directory) {
  const lines = readFileSync(join(directory, "golden.jsonl"), "utf8").split("\n").filter(Boolean);
  let worst = 0;
  for (const golden of lines.map((line) => JSON.parse(line))) {
    const row = await classify(bytesOfRow(golden));
    const differences = golden.probabilities.map((p, at) => Math.abs(p - row[at]));
    worst = Math.max(worst, ...differences);
  }
  console.log(`${lines.length} golden rows, largest difference ${worst.toExponential(1)}`);
  return lines.length > 0 && worst <= TOLERANCE; // false too if a number is missing
}

const [directory, prompt] = process.argv.slice(2);
if (prompt === undefined) {
  console.error('usage: node route.mjs MODEL_DIR "prompt" | --golden');
  process.exit(2);
}
const artifact = await open(directory);
if (prompt !== "--golden") {
  await show(artifact, prompt);
} else if (!(await replay(artifact, directory))) {
  process.exitCode = 1;
}
