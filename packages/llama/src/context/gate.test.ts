/** The queue and lease of a context: one call at a time, none while the cache is held still. */
import { describe, expect, it } from "vitest";
import { createGate } from "./gate.js";

describe("createGate", () => {
  it("runs jobs one after another, in order, whatever their outcome", async () => {
    const gate = createGate();
    const seen: string[] = [];
    const job = (name: string, fails = false) =>
      gate.run(async () => {
        seen.push(`${name} starts`);
        await new Promise((resolve) => setTimeout(resolve, name === "a" ? 10 : 0));
        seen.push(`${name} ends`);
        if (fails) throw new Error(name);
        return name;
      });
    const all = [job("a"), job("b", true), job("c")];
    const outcomes = await Promise.allSettled(all);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(seen).toEqual(["a starts", "a ends", "b starts", "b ends", "c starts", "c ends"]);
  });

  it("turns a thrown error into a rejection", async () => {
    const gate = createGate();
    await expect(
      gate.run(() => {
        throw new Error("no");
      }),
    ).rejects.toThrow("no");
    await expect(gate.run(() => 1)).resolves.toBe(1);
  });
});
