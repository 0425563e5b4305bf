/** Every kind of layer that the reference executor folds, and a fold in one call. */
import type { CacheLease, LayerShape, MemoryCache, MergePlan } from "../src/index.js";

export type LayerChange = Partial<LayerShape>;
const q8 = { keyType: "q8_0", valueType: "q8_0" } as const;
const q4 = { keyType: "q4_0", valueType: "q4_0" } as const;

/** What a layer differs in from the small one. */
export const LAYER_KINDS: readonly (readonly [string, LayerChange])[] = [
  ["f32", {}],
  ["f16, values transposed", { keyType: "f16", valueType: "f16", valueLayout: "transposed" }],
  ["bf16 keys, f32 values transposed", { keyType: "bf16", valueLayout: "transposed" }],
  ["q8_0 with Hadamard", { ...q8, hadamard: { key: 32, value: 32 } }],
  ["q4_0", q4],
  ["q4_1 and q5_1", { keyType: "q4_1", valueType: "q5_1" }],
  [
    "q5_0 keys, heads of other sizes",
    { keyType: "q5_0", keyDim: 64, valueDim: 32, kvHeads: 3, queryHeads: 3 },
  ],
  ["no rope", { rope: null }],
];

/** Leases, plans, applies, releases. */
export async function foldWith(cache: MemoryCache, make: (view: CacheLease) => MergePlan): Promise<void> {
  const lease = await cache.lease();
  try {
    await cache.apply(lease, make(lease));
  } finally {
    lease.release();
  }
}
