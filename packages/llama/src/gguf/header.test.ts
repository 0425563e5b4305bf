/** The header reader against files of our own writer, whole, cut and bent. */
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fuzz } from "@kvfold/testkit";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeGguf } from "../tiny-model/gguf-writer.js";
import { type GgufHeader, readHeader } from "./header.js";
import { GgufProblem } from "./reader.js";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kvfold-gguf-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(bytes: Uint8Array): Promise<GgufHeader> {
  const path = join(folder, "file.gguf");
  await writeFile(path, bytes);
  const file = await open(path);
  try {
    return await readHeader(file, bytes.length);
  } finally {
    await file.close();
  }
}

const FILE = writeGguf(
  {
    "general.architecture": "llama",
    "llama.block_count": { u32: 2 },
    "llama.x": { f32: 0.5 },
    "llama.y": { i32s: [1, -2] },
  },
  [
    { name: "a", shape: [4, 3], data: new Float32Array(12) },
    { name: "b", shape: [5], data: new Float32Array(5) },
  ],
);

describe("readHeader", () => {
  it("reads keys and measures tensors", async () => {
    const { metadata, tensors, needsBytes, version } = await read(FILE);
    expect(version).toBe(3);
    expect(tensors).toBe(2);
    expect(Object.fromEntries(metadata)).toEqual({
      "general.architecture": "llama",
      "llama.block_count": 2,
      "llama.x": 0.5,
    });
    // the writer pads the last tensor to 32 bytes, 20 of which hold numbers
    expect(needsBytes).toBe(FILE.length - 12);
  });

  it("finds every cut in the header", async () => {
    const { needsBytes } = await read(FILE);
    const dataStart = needsBytes - 20 - 64;
    for (let length = 1; length < dataStart - 32; length += 3) {
      await expect(read(FILE.subarray(0, length)), `${length} bytes`).rejects.toBeInstanceOf(GgufProblem);
    }
  });

  it("answers any bent header with a header or a problem", async () => {
    const bend = fc.array(fc.record({ at: fc.nat(200), value: fc.nat(255) }), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(bend, async (bends) => {
        const bytes = Buffer.from(FILE);
        for (const { at, value } of bends) bytes[at] = value;
        const outcome = await read(bytes).then(
          () => null,
          (error: unknown) => error,
        );
        expect(outcome === null || outcome instanceof GgufProblem).toBe(true);
      }),
      fuzz(150),
    );
  });
});
