/** Scores from attention: what each of them keeps when few queries need one cell and many need another. */
import { describe, expect, it } from "vitest";
import { FRMS, KEYDIFF, planOf } from "../../test/refit-case.js";
import { draw, scoredOps } from "../../test/tiny.js";
import { meanAndRootMeanSquare, rootMeanSquare } from "./future-attention.js";

const stats = {
  maximum: Float32Array.of(1, 1, 1),
  mean: Float32Array.of(4, 1, 0),
  rms: Float32Array.of(1, 9, 5),
};

describe("attention becomes a score", () => {
  it("as its root mean square", () => expect([...rootMeanSquare(stats)]).toEqual([1, 9, 5]));

  it("as the geometric mean of mean and root mean square", () =>
    expect([...meanAndRootMeanSquare(stats)]).toEqual([2, 3, 0]));

  it("of which refit takes the second", async () => {
    const known = scoredOps(KEYDIFF, FRMS);
    // i is needed by many a little: root mean square 1, mean 100
    const attend: typeof known.attend = async (...asked) => {
      const seen = await known.attend(...asked);
      return { ...seen, mean: seen.mean.map((mean, index) => (index % 14 === 8 ? 100 : mean)) };
    };
    const drawn = async (ops: typeof known) =>
      draw(await planOf({ sharedPins: 0, headPins: 0 }, { ops, target: 6 }));
    expect(await drawn(known)).toBe("ABCHMN ABCJMN");
    expect(await drawn({ ...known, attend })).toBe("ABHIMN ACIJMN");
  });
});
