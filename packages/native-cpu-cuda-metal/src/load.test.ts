/** Where the add-on comes from, and what is said when there is none. */
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { checkThreads, defaultThreads, physicalCores } from "./threads.js";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.resetModules();
});

async function freshLoad(path: string): Promise<typeof import("./load.js")> {
  vi.resetModules();
  vi.stubEnv("KVFOLD_NATIVE_PATH", path);
  return import("./load.js");
}

describe("load", () => {
  it("tells file, instruction set and backends", async () => {
    const info = (await freshLoad("")).backendInfo();
    expect(info).toMatchObject({ loaded: true, backends: ["cpu", "reference"], threads: defaultThreads() });
    expect(info.loaded && info.path).toMatch(/kvfold_native\.node$/);
    expect(info.loaded && info.cuda).toMatch(/^no CUDA device/);
    expect(info.loaded && info.isa).toMatch(/^(scalar|avx2|avx512|neon)$/);
  });

  it("a path that names no file", async () => {
    const { backendInfo, loadAddon } = await freshLoad("/nowhere/kvfold.node");
    expect(backendInfo()).toEqual({ loaded: false, reason: expect.stringContaining("/nowhere/kvfold.node") });
    expect(() => loadAddon()).toThrow(expect.objectContaining({ code: "KVFOLD_NATIVE_MISSING" }));
  });

  it("a file that is no add-on, and one of something else", async () => {
    const folder = await mkdtemp(join(tmpdir(), "kvfold-"));
    const text = join(folder, "text.node");
    writeFileSync(text, "not a library");
    const other = join(folder, "other.cjs");
    writeFileSync(other, "module.exports = {}");
    const first = (await freshLoad(text)).backendInfo();
    expect(first).toMatchObject({ loaded: false, reason: expect.stringContaining("cannot be loaded") });
    const second = (await freshLoad(other)).backendInfo();
    expect(second).toMatchObject({ loaded: false, reason: expect.stringContaining("speaks interface none") });
    await rm(folder, { recursive: true });
  });
});

describe("threads", () => {
  it("siblings count once", () => {
    const pairs = (processor: number): string =>
      processor % 2 === 0 ? `${processor}-${processor + 1}` : `${processor - 1}-${processor}`;
    expect(physicalCores(pairs, 8)).toBe(4);
    expect(physicalCores(() => null, 8)).toBe(8);
    expect(physicalCores(() => "0-63", 64)).toBe(1);
  });
  it("the default leaves a core free and is at least 1", () => {
    expect(defaultThreads()).toBe(Math.max(1, physicalCores() - 1));
    expect(checkThreads(undefined)).toBe(defaultThreads());
    expect(checkThreads(7)).toBe(7);
  });
});
