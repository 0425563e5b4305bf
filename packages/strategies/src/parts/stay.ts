/** Cells that must not move, in plans that re-rotate keys. */
import { type CacheView, KvfoldError } from "@kvfold/core";

/**
 * A plan of key frame `target` turns every key to the position of its row. A cell that has to stay as it is must
 * therefore hold keys of its own position in every layer and head; composite cells do not.
 * @throws KvfoldError KVFOLD_NOT_APPLICABLE
 */
export function needUnturnedKeys(view: CacheView, cells: Iterable<number>, who: string): void {
  const maps = view.shape.layers.flatMap((layer, index) => {
    const sources = layer.rope === null ? null : view.sources(index);
    return sources === null ? [] : [{ sources, kvHeads: layer.kvHeads }];
  });
  if (maps.length === 0) return;
  for (const cell of cells) {
    for (const { sources, kvHeads } of maps) {
      for (let head = 0; head < kvHeads; head++) {
        if (sources[head * view.shape.cells + cell] === view.positions[cell]) continue;
        throw new KvfoldError(
          "KVFOLD_NOT_APPLICABLE",
          `cell ${cell} must stay, but holds keys of other positions, which re-rotation would turn`,
          { who, hint: "an earlier fold kept other tokens in every head: go on with evict(per=head)" },
        );
      }
    }
  }
}
