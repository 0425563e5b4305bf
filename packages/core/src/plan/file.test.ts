/** Plans on disk: round trip, whole files only, and what cannot be read. */
import { mkdir, mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { rejectedCode, smallCache } from "../../test/small-cache.js";
import { loadPlan, savePlan } from "./file.js";
import { keepPlan } from "./keep.js";

const folder = await mkdtemp(join(tmpdir(), "kvfold-plan-"));
afterAll(() => rm(folder, { recursive: true }));
const plan = keepPlan(await smallCache({ cells: 4 }).lease(), [0, 3]);

describe("savePlan and loadPlan", () => {
  it("keep a plan, and replace an older file", async () => {
    const path = join(folder, "a.plan");
    await savePlan(path, plan, { by: "test" });
    await savePlan(path, plan, { by: "test again" }, ["a", "b", "c", "d"]);
    expect(await loadPlan(path)).toEqual({
      plan,
      metadata: { by: "test again" },
      pieces: ["a", "b", "c", "d"],
    });
    expect(await readdir(folder)).toEqual(["a.plan"]);
  });

  it("leave nothing behind when they fail", async () => {
    const target = join(folder, "taken");
    await mkdir(join(target, "full"), { recursive: true });
    expect(await rejectedCode(savePlan(target, plan))).toBe("KVFOLD_FILE");
    expect(await rejectedCode(savePlan(join(folder, "missing", "x.plan"), plan))).toBe("KVFOLD_FILE");
    expect(await rejectedCode(savePlan("bad\0path", plan))).toBe("KVFOLD_FILE");
    expect((await readdir(folder)).filter((name) => name.includes("partial"))).toEqual([]);
  });

  it("answer what cannot be read with a code", async () => {
    expect(await rejectedCode(loadPlan(join(folder, "nothing")))).toBe("KVFOLD_FILE");
    expect(await rejectedCode(loadPlan(folder))).toBe("KVFOLD_FILE");
    const path = join(folder, "text.plan");
    await writeFile(path, "hello");
    expect(await rejectedCode(loadPlan(path))).toBe("KVFOLD_PLAN_FILE");
    // a sparse file that claims to be larger than any plan
    await truncate(path, 2 ** 34);
    expect(await rejectedCode(loadPlan(path))).toBe("KVFOLD_PLAN_LIMIT");
  });

  it.skipIf(process.platform === "win32")("do not wait for devices", async () => {
    expect(await rejectedCode(loadPlan("/dev/zero"))).toBe("KVFOLD_FILE");
  });
});
