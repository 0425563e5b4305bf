/** Names that were nearly right. */
import { expect, it } from "vitest";
import { editDistance, nameHint, nearestName } from "./suggest.js";

it.each([
  ["kitten", "sitting", 3],
  ["", "abc", 3],
  ["same", "same", 0],
  ["maen", "mean", 1],
  ["ca", "abc", 3],
])("counts the edits from %s to %s", (a, b, edits) => {
  expect(editDistance(a, b)).toBe(edits);
  expect(editDistance(b, a)).toBe(edits);
});

it("finds the nearest name, whatever its case, and the first of equals", () => {
  expect(nearestName("Maen", ["sum", "mean", "head-pick"])).toBe("mean");
  expect(nearestName("headpick", ["sum", "mean", "head-pick"])).toBe("head-pick");
  expect(nearestName("aa", ["ab", "ac"])).toBe("ab");
});

it("finds nothing where every name is another word", () => {
  expect(nearestName("xyz", ["sum", "mean"])).toBeNull();
  expect(nearestName("m".repeat(10_000), ["m".repeat(10_000)])).toBeNull();
});

it("hints at the nearest, or lists them", () => {
  expect(nameHint("summ", ["sum", "mean"])).toBe("did you mean sum?");
  expect(nameHint("evict", ["sum", "mean"])).toBe("there are: sum, mean");
  expect(nameHint("evict", [])).toBe("there are none");
});
