// Prints how long attention over a whole cache takes and a fold with a fit: 6 layers of 2 KV heads, groups of 2 query
// heads, 64 channels, 4096 cells to 1024 rows, 4096 query rows a head. Not a test. Build the packages and the add-on first.
//
//   node scripts/time-fit.mjs [threads, 1] [type of the cache, f16]
import { composite, fakeQueries, fakeTarget, fitted } from "@kvfold/testkit";
import { backendInfo, createNativeExecutor, memoryFromTarget, nativeOps } from "../dist/index.js";

const [threads, dtype] = [Number(process.argv[2] ?? 1), process.argv[3] ?? "f16"];
const [LAYERS, HEADS, GROUP, DIM, CELLS, ROWS, QUERIES] = [6, 2, 2, 64, 4096, 1024, 4096];
const [HOLDOUT, RUNS] = [5, 5];

const shape = { kvHeads: HEADS, queryHeads: HEADS * GROUP, keyDim: DIM, valueDim: DIM };
const memory = fakeTarget(1, {
  ...{ cells: CELLS, keyType: dtype, valueType: dtype },
  layers: Array.from({ length: LAYERS }, () => shape),
});
const sample = fakeQueries(2, memory.shape, QUERIES / GROUP);
const target = memoryFromTarget(memory);
const step = CELLS / ROWS;
const orders = Array.from({ length: LAYERS * HEADS }, (_, head) =>
  Array.from(
    { length: CELLS },
    (_, c) => ((c * step) % CELLS) + ((Math.floor((c * step) / CELLS) + head) % step),
  ),
);
const plan = fitted(composite(memory, { rows: ROWS, orders }), memory.shape, sample, {
  ...{ horizon: 512, holdout: HOLDOUT },
});
const fitting = QUERIES - Math.floor(QUERIES / HOLDOUT);
const most = Math.floor(fitting / 4);
freeAtMost(most);

/** At most so many free rows in each head, and in every head. */
function freeAtMost(count) {
  const { free } = plan.fit;
  for (let from = 0; from < free.length; from += ROWS)
    free.fill(1, from, from + ROWS).fill(0, from + count, from + ROWS);
}

/** Best of several runs, in seconds: other work on the machine only ever makes a run slower. */
async function best(work) {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now();
    await work();
    least = Math.min(least, performance.now() - start);
  }
  return least / 1e3;
}

function print(name, seconds, operations) {
  const speed = operations === 0 ? "" : `${(operations / seconds / 1e9).toFixed(1)} GFLOP/s`;
  console.log(`${name.padEnd(34)} ${(seconds * 1e3).toFixed(1).padStart(9)} ms  ${speed}`);
}

const layers = Array.from({ length: LAYERS }, (_, layer) => layer);
const heads = LAYERS * HEADS;
const ops = nativeOps({ threads });
const executor = createNativeExecutor({ threads });
const destinations = memory.slots.slice().sort().slice(0, ROWS);
const info = backendInfo();
console.log(
  `${info.attentionIsa}, ${threads} threads, ${dtype}: ${LAYERS} layers x ${HEADS} KV heads x ${DIM} channels,`,
);
console.log(`${CELLS} cells to ${ROWS} rows, ${QUERIES} query rows, ${most} free rows a head`);

const queries = [];
print(
  "turn queries of all layers",
  await best(async () => {
    for (const layer of layers) queries[layer] = await ops.turnQueries(target, layer, sample);
  }),
  0,
);
const pairs = heads * QUERIES * CELLS * DIM;
let attended = [];
for (const outputs of [false, true]) {
  const work = async () => {
    attended = [];
    for (const layer of layers)
      attended.push(await ops.attend(target, layer, queries[layer], null, { outputs }));
  };
  print(`attend all layers${outputs ? ", with outputs" : ""}`, await best(work), (outputs ? 4 : 2) * pairs);
}
const solve =
  fitting * most ** 2 + most ** 3 / 3 + 2 * most ** 2 * DIM + 2 * most * DIM * (fitting + QUERIES);
const kept = heads * (4 * QUERIES * ROWS * DIM + solve);
const known = attended.map(({ outputs }) => outputs);
let last;
const prepare = (options) => async () => {
  last?.dispose();
  last = await executor.prepare(target, plan, { destinations, queries: sample, ...options });
};
print(
  "prepare without a fit",
  await best(async () => {
    (await executor.prepare(target, { ...plan, fit: null }, { destinations })).dispose();
  }),
  0,
);
print("prepare with fit", await best(prepare({})), 4 * pairs + kept);
console.log(
  `held ${(last.heldBytes / 2 ** 20).toFixed(1)} MiB, worked in ${(last.workingBytes / 2 ** 20).toFixed(1)} MiB`,
);
print("prepare with fit, outputs known", await best(prepare({ outputs: known })), kept);
console.log(`accepted ${last.fits.filter((fit) => fit.accepted).length} of ${last.fits.length} heads`);
