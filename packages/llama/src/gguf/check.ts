/** Looks at a model file before llama.cpp does, so that a wrong path or a damaged file is a clear error. */
import { type FileHandle, open } from "node:fs/promises";
import { KvfoldError } from "@kvfold/core";
import { WHO, wrongArgument } from "../native/errors.js";
import { type GgufHeader, readHeader } from "./header.js";
import { GgufProblem } from "./reader.js";

const MODEL_FILE_HINT = "give the path of a complete GGUF model file";

const problem = (what: string, hint: string, cause?: unknown): KvfoldError =>
  new KvfoldError("KVFOLD_MODEL_FILE", what, { who: WHO, hint, ...(cause === undefined ? {} : { cause }) });

/**
 * The header of a model file that can be given to llama.cpp.
 * @throws KvfoldError KVFOLD_MODEL_FILE for what is missing, a folder, empty, no GGUF, damaged or cut off
 */
export async function checkModelFile(path: string): Promise<{ header: GgufHeader; fileBytes: number }> {
  if (typeof path !== "string" || path === "")
    throw wrongArgument("modelPath must be the path of a GGUF file");
  const file = await openModel(path);
  try {
    const status = await file.stat();
    if (status.isDirectory()) throw problem(`${path} is a folder`, MODEL_FILE_HINT);
    if (!status.isFile()) throw problem(`${path} is not a regular file`, MODEL_FILE_HINT);
    if (status.size === 0) throw problem(`${path} is empty`, "download the model again");
    const header = await readHeader(file, status.size);
    checkLength(path, header, status.size);
    checkSizes(path, header);
    return { header, fileBytes: status.size };
  } catch (cause) {
    if (cause instanceof GgufProblem)
      throw problem(`${path} is no readable GGUF file: ${cause.message}`, MODEL_FILE_HINT, cause);
    if (cause instanceof KvfoldError) throw cause;
    throw problem(
      `${path} cannot be read: ${(cause as Error).message}`,
      "check the file and its permissions",
      cause,
    );
  } finally {
    await file.close();
  }
}

async function openModel(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const what = code === "ENOENT" ? `${path} does not exist` : `${path} cannot be opened: ${message}`;
    throw problem(what, "check the path of the model", cause);
  }
}

function checkLength(path: string, header: GgufHeader, fileBytes: number): void {
  if (fileBytes >= header.needsBytes) return;
  const what = `${path} is cut off: it has ${fileBytes} bytes, its header tells of ${header.needsBytes}`;
  throw problem(what, "download the model again");
}

/** Sizes that llama.cpp divides by or allocates from without asking. */
const POSITIVE_KEYS: readonly (readonly [suffix: string, most: number])[] = [
  ["block_count", 4096],
  ["embedding_length", 1 << 20],
  ["attention.head_count", 4096],
  ["context_length", 2 ** 31 - 1],
  ["attention.key_length", 1 << 16],
  ["attention.value_length", 1 << 16],
  ["vocab_size", 1 << 26],
];

function checkSizes(path: string, { metadata }: GgufHeader): void {
  const architecture = metadata.get("general.architecture");
  if (typeof architecture !== "string" || architecture === "") {
    throw problem(`${path} names no architecture`, MODEL_FILE_HINT);
  }
  for (const [suffix, most] of POSITIVE_KEYS) {
    const value = metadata.get(`${architecture}.${suffix}`);
    if (
      value === undefined ||
      (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= most)
    )
      continue;
    throw problem(
      `${path} has ${architecture}.${suffix} = ${String(value)}`,
      "the file is damaged; download it again",
    );
  }
}
