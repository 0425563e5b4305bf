/** refit: which cells stay for whose sake, which values are fitted, and which signals are asked for. */
import { PIN_LEVEL } from "@kvfold/core";
import { describe, expect, it, vi } from "vitest";
import { FRMS, KEYDIFF, planOf } from "../test/refit-case.js";
import { draw, pinsOf, scoredOps, zeroQueries } from "../test/tiny.js";

import { type PinShares, pinShares, type RefitOptions } from "./parts/refit-options.js";
import { refit } from "./refit.js";

describe("refit keeps", () => {
  it("pins of all heads, pins of each head, and what each head attends to", async () => {
    const made = await planOf();
    // of 8 places 3 are shared: e is a surprise, f stands out, of their equals the oldest; then b c h and b c j get most
    // attention; of what is left i j and h k stand out; all are fitted, those that stand out with a stiffer ridge
    expect(draw(made)).toBe("AdefB'CH'I'J'MN AdefBC'H'J'K'MN");
    expect(made).toMatchObject({ layout: "composite", rows: 11, dropped: 3, bias: null, values: null });
    expect([...made.positions]).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    const { key, exact } = PIN_LEVEL;
    expect([...made.pins!]).toEqual([key, 0, 0, exact, exact, exact, 0, 0, 0, 0, 0, 0, key, key]);
  });

  it("asks for the fit of its options, on this sample", async () => {
    const made = await planOf({ lambda: 0.1, maxRows: 200, fitRows: 100, horizon: 64, holdout: 3 });
    const { hash } = zeroQueries(400, [2]);
    expect(made.fit).toMatchObject({
      method: "ridge",
      lambda: 0.1,
      maxRows: 100,
      horizon: 64,
      holdout: 3,
      queries: hash,
    });
  });

  it("the values of what stands out as they are with pinRidge=0, and as others with 1", async () => {
    expect(draw(await planOf({ pinRidge: 0 }))).toBe("AdefbChijMN AdefBchjkMN");
    expect(draw(await planOf({ pinRidge: 1 }))).toBe("AdefBCHIJMN AdefBCHJKMN");
    expect((await planOf({ pinRidge: 33 })).fit!.free).toContain(33);
  });

  it("no pins where shares are 0, and reads no keys then", async () => {
    const ops = { ...scoredOps(KEYDIFF, FRMS), keyStats: vi.fn() };
    const made = await planOf({ sharedPins: 0, headPins: 0 }, { ops });
    expect(draw(made)).toBe("ABCDGHIKLMN ABCDEGHIJMN");
    expect(ops.keyStats).not.toHaveBeenCalled();
  });

  it("tokens of one name whole, in the pins of a head", async () => {
    // head 0: f and its neighbours; head 1: j and its neighbours
    const made = await planOf({ sharedPins: 0, headPins: 0.375, neighbours: 1 });
    expect(draw(made)).toBe("ABCE'F'G'HKLMN ABCE'GHI'J'K'MN");
  });

  it("what a second reading attended to, with queries=repeat", async () => {
    const ops = { ...scoredOps(KEYDIFF), attend: vi.fn() };
    const repeat = { layers: [Float32Array.from(FRMS[0]!.flat())] };
    const made = await planOf({ queries: "repeat" }, { ops }, { repeat, tokenLogProbs: null });
    // shared: b and its neighbours; then what the second reading attended to; then f j and f k by KeyDiff
    expect(draw(made)).toBe("AbcdF'H'J'KLMN AbcdF'GHJ'K'MN");
    expect(ops.attend).not.toHaveBeenCalled();
  });

  it("the same cells with fit=false, all with their own values", async () => {
    const made = await planOf({ fit: false });
    expect(draw(made)).toBe("adefbchijmn adefbchjkmn");
    expect(made.fit).toBeNull();
    expect([...made.pins!]).toEqual([3, 0, 0, 3, 3, 3, 0, 0, 0, 0, 0, 0, 3, 3]);
  });
});

describe("refit leaves alone", () => {
  it("sinks and newest cells with fitWindow=false", async () => {
    const made = await planOf({ fitWindow: false });
    expect(draw(made)).toBe("adefB'CH'I'J'mn adefBC'H'J'K'mn");
    expect([...made.pins!]).toEqual([3, 0, 0, 3, 3, 3, 0, 0, 0, 0, 0, 0, 3, 3]);
  });

  it("cells that somebody pinned, which it keeps besides", async () => {
    const made = await planOf(
      { sharedPins: 0, headPins: 0 },
      { pins: pinsOf("3 0 0 0 2 0 0 0 0 0 0 0 0 3") },
    );
    expect(draw(made)).toBe("aeBCGHIKLMn aeBCDGHIJMn");
    expect([...made.pins!]).toEqual([3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 3]);
  });

  it("cells outside the range, values too", async () => {
    const made = await planOf({}, { range: { from: 5, to: 14 } });
    expect(draw(made)).toBe("abcdefH'J'KMN abcdefGJ'K'MN");
  });

  it("the newest cell's key, even with recent=0", async () => {
    const made = await planOf({ recent: 0, sinks: 0, sharedPins: 0, headPins: 0 }, { target: 3 });
    expect(draw(made)).toBe("BHN CJN");
    expect(made.pins![13]).toBe(PIN_LEVEL.key);
  });

  it("everything when nothing has to go, or nothing may", async () => {
    expect(draw(await planOf({}, { target: 14 }))).toMatch(/^a@0 b@1 .* n@13$/);
    expect(draw(await planOf({ recent: 14 }, { target: 7 }))).toMatch(/^a@0 b@1 .* n@13$/);
  });
});

describe("refit solves for", () => {
  it.each([
    ["a quarter of 20 fitting rows, those that get most attention", 25, "AdefB'CH'ijmN adefBC'H'J'kmN"],
    ["a quarter of 8", 10, "adefB'cH'ijmn adefbC'hJ'kmn"],
  ])("%s", async (_what, samples, drawn) => {
    expect(draw(await planOf({}, {}, { queries: zeroQueries(samples, [2]) }))).toBe(drawn);
    expect(draw(await planOf({ maxRows: samples }))).toBe(drawn);
  });

  it("nothing when no query is left to judge, and says so", async () => {
    const warn = vi.fn();
    const log = { debug: vi.fn(), info: vi.fn(), warn };
    const made = await planOf({}, { log }, { queries: zeroQueries(4, [2]) });
    expect(made.fit).toBeNull();
    expect(draw(made)).toBe("adefbchijmn adefbchjkmn");
    expect(warn).toHaveBeenCalledWith(expect.stringContaining("too small"));
  });

  it("what queries of all heads of a group judge", async () => {
    const made = await planOf(
      { holdout: 5 },
      {},
      { queries: zeroQueries(80, [2], 5), layer: { queryHeads: 10 } },
    );
    expect(made.fit?.holdout).toBe(6);
  });

  it("heads that a layer lacks not at all", async () => {
    const heads = [2, 1];
    const ops = scoredOps([KEYDIFF[0]!, [KEYDIFF[0]![1]!]], [FRMS[0]!, [FRMS[0]![1]!]]);
    const made = await planOf({}, { ops }, { heads, queries: zeroQueries(400, heads) });
    expect(draw(made)).toBe("AdefB'CH'I'J'MN AdefBC'H'J'K'MN AdefBC'H'J'K'MN adefbchjkmn");
  });
});

describe("refit", () => {
  it("asks for the signals that its options read, and for no others", () => {
    expect(refit().signals).toEqual(["queries"]);
    expect(refit({ sharedPins: 0.2 }).signals).toEqual(["queries", "tokenLogProbs"]);
    expect(refit({ queries: "repeat" }).signals).toEqual(["repeat", "queries"]);
    expect(refit({ queries: "repeat", fit: false }).signals).toEqual(["repeat"]);
    expect(refit().scope).toBe("all");
  });

  it("shares may add up to one, however decimals round", () => {
    expect(refit({ sharedPins: 0.42, headPins: 0.58 }).expression).toBe(
      "refit(sharedPins=0.42,headPins=0.58)",
    );
    expect(() => refit({ sharedPins: 0.1, headPins: 0.9 })).not.toThrow();
    expect(() => refit({ sharedPins: 1, headPins: 0 })).not.toThrow();
  });

  it.each<[Partial<RefitOptions>, PinShares]>([
    [{}, { shared: 0, head: 0.35 }],
    [{ queries: "repeat" }, { shared: 0.2, head: 0.4 }],
    [
      { queries: "repeat", sharedPins: 0 },
      { shared: 0, head: 0.4 },
    ],
    [{ sharedPins: 0.75 }, { shared: 0.75, head: 0.25 }],
    [
      { queries: "repeat", headPins: 0.875 },
      { shared: 0.125, head: 0.875 },
    ],
    [
      { sharedPins: 0.1, headPins: 0.3 },
      { shared: 0.1, head: 0.3 },
    ],
  ])("with %o gives pins the right room", (options, shares) => {
    const given = { sharedPins: "auto", headPins: "auto", queries: "future", ...options } as const;
    expect(pinShares(given)).toEqual(shares);
    expect(() => refit(options)).not.toThrow();
  });
});
