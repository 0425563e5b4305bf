/** All rows of a live sequence, for the reference attention. */
import type { LlamaSequence } from "../../src/index.js";
import type { CachedRows } from "./forward.js";

export async function readCache(sequence: LlamaSequence): Promise<CachedRows> {
  const lease = await sequence.lease();
  try {
    const layers = [];
    for (let layer = 0; layer < lease.shape.layers.length; layer++) {
      layers.push({ keys: await lease.keys(layer, "stored"), values: await lease.values(layer) });
    }
    return { layers, positions: lease.positions, bias: lease.bias };
  } finally {
    lease.release();
  }
}
