/** Finds the model that a command line names, and refuses what is no model before the engine is started. */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { KvfoldError } from "@kvfold/core";
import { nanoModelPath } from "@kvfold/model-nano";

export interface ModelFile {
  /** As it was asked for: `nano` or a path. */
  readonly name: string;
  readonly path: string;
}

/** @throws KvfoldError KVFOLD_MODEL_FILE when it is missing, not a file, or does not begin as a GGUF does */
export async function resolveModelFile(name: string): Promise<ModelFile> {
  const path = name === "nano" ? nanoModelPath : resolve(name);
  const refuse = (what: string, cause?: unknown): never => {
    throw new KvfoldError("KVFOLD_MODEL_FILE", `the model ${JSON.stringify(name)} ${what}`, {
      hint: "give the path of a GGUF file, or nano for the embedded model",
      ...(cause === undefined ? {} : { cause }),
    });
  };
  const file = await open(path, "r").catch((cause: NodeJS.ErrnoException) =>
    refuse(cause.code === "ENOENT" ? "does not exist" : "cannot be opened", cause),
  );
  try {
    if (!(await file.stat()).isFile()) refuse("is not a file");
    const start = new Uint8Array(4);
    await file.read(start, 0, 4, 0);
    if (String.fromCharCode(...start) !== "GGUF") refuse("is not a GGUF file");
  } finally {
    await file.close();
  }
  return { name, path };
}

/** Pieces of a model file that are hashed, spread evenly from its first byte to its last. */
const HASHED_PIECES = 16;
const PIECE_BYTES = 2 ** 20;

/**
 * Names the content of a model file: its size and a hash of 16 MiB of it, metadata and weights of all parts among them.
 * Reading all of a large model would take longer than many a measurement.
 */
export async function modelHash({ path }: ModelFile): Promise<string> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const hash = createHash("sha256").update(`${size}`);
    const piece = new Uint8Array(PIECE_BYTES);
    for (let index = 0; index < HASHED_PIECES; index++) {
      const last = Math.max(0, size - PIECE_BYTES);
      const { bytesRead } = await file.read(
        piece,
        0,
        PIECE_BYTES,
        Math.round((last * index) / (HASHED_PIECES - 1)),
      );
      hash.update(piece.subarray(0, bytesRead));
    }
    return `${size}-${hash.digest("hex").slice(0, 16)}`;
  } finally {
    await file.close();
  }
}
