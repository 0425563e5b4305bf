/** Plans as bytes and back. Files are hostile: every size is checked before anything is allocated. */
import { KvfoldError } from "../errors.js";
import { checkPlanAlone } from "./check.js";
import { checkStructure, DEFAULT_PLAN_LIMITS, type PlanLimits, planError } from "./check-structure.js";
import { checkValueForm } from "./check-values.js";
import { readValues, VALUE_TAGS, valueSections } from "./codec-values.js";
import { type MergePlan, PLAN_VERSION, type PlanBase, type SharedPlan, type Weights } from "./plan.js";
import { fileError, pack32, packSections, type Section, unpack32, unpackSections } from "./sections.js";

/** What a plan file holds. */
export interface PlanFile {
  readonly plan: MergePlan;
  /** Whatever the writer wanted to remember: model, strategy, date. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Text of each old cell, so that the plan can be drawn from the file alone; null when not saved. [cells] */
  readonly pieces: readonly string[] | null;
}

const LAYOUTS = ["shared", "composite"] as const;
const KEY_FRAMES = ["stored", "target"] as const;
const SCOPES = ["all", "layer", "head"] as const;
const HEAD_WORDS = 10;
/** Bytes of metadata, or of all pieces together. */
const TEXT_LIMIT = 2 ** 26;
const ANY_SIZE: PlanLimits = { cells: 2 ** 32, entries: 2 ** 32 };

/**
 * Bytes of a plan; equal inputs give equal bytes on every machine.
 *
 * @param pieces text of each old cell [cells], for pictures
 * @throws KvfoldError KVFOLD_PLAN_* for a plan that could not be read back, KVFOLD_ARGUMENT
 */
export function encodePlan(
  plan: MergePlan,
  metadata: Readonly<Record<string, string>> = {},
  pieces: readonly string[] | null = null,
): Uint8Array {
  checkPlanAlone(plan, null, ANY_SIZE);
  const sections = planSections(plan);
  if (Object.keys(metadata).length > 0) {
    if (!Object.values(metadata).every((value) => typeof value === "string"))
      throw wrongText("metadata must be strings");
    sections.push(packText("META", metadata));
  }
  if (pieces !== null) {
    if (pieces.length !== plan.cells) throw wrongText(`${pieces.length} pieces for ${plan.cells} cells`);
    sections.push(packText("PIEC", pieces));
  }
  return packSections(sections);
}

const wrongText = (what: string): KvfoldError =>
  new KvfoldError("KVFOLD_ARGUMENT", what, { who: "plan file" });

/** Sections of the plan itself, in one fixed order; arrays that say nothing (all zero) count as absent. */
export function planSections(plan: MergePlan): Section[] {
  checkStructure(plan, ANY_SIZE);
  checkValueForm(plan, ANY_SIZE);
  const sections: Section[] = [
    { tag: "HEAD", bytes: pack32(headWords(plan)) },
    { tag: "POSN", bytes: pack32(plan.positions) },
    { tag: "CNTS", bytes: pack32(plan.counts) },
    { tag: "MEMB", bytes: pack32(plan.members) },
  ];
  if (plan.layout === "shared") {
    sections.push({ tag: "OFFS", bytes: pack32(plan.offsets) });
    sections.push({ tag: "KEYW", bytes: pack32(plan.keyWeights.data) });
    sections.push({ tag: "VALW", bytes: pack32(plan.valueWeights.data) });
  }
  if (plan.bias?.some((value) => value !== 0)) sections.push({ tag: "BIAS", bytes: pack32(plan.bias) });
  if (plan.pins?.some((level) => level !== 0)) sections.push({ tag: "PINS", bytes: plan.pins.slice() });
  sections.push(...valueSections(plan));
  return sections;
}

function headWords(plan: MergePlan): Uint32Array {
  const words = [
    LAYOUTS.indexOf(plan.layout),
    plan.cells,
    plan.rows,
    plan.dropped % 2 ** 32,
    plan.dropped / 2 ** 32,
  ];
  if (plan.layout === "composite") words.push(plan.layers, plan.kvHeads, 0, 0, 0);
  else {
    const scopes = [SCOPES.indexOf(plan.keyWeights.scope), SCOPES.indexOf(plan.valueWeights.scope)];
    words.push(0, 0, KEY_FRAMES.indexOf(plan.keyFrame), ...scopes);
  }
  return Uint32Array.from(words);
}

function packText(tag: string, value: unknown): Section {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  if (bytes.length > TEXT_LIMIT) {
    throw planError("KVFOLD_PLAN_LIMIT", `${bytes.length} bytes of text, the limit is ${TEXT_LIMIT}`);
  }
  return { tag, bytes };
}

/**
 * Reads what `encodePlan` wrote. The plan obeys every rule that needs no cache; `checkPlan` judges it against one.
 *
 * @throws KvfoldError KVFOLD_PLAN_FILE when it is no plan file, damaged, of another version, or holds no valid plan;
 * KVFOLD_PLAN_LIMIT when it is larger than the limits
 */
export function decodePlan(bytes: Uint8Array, limits: PlanLimits = DEFAULT_PLAN_LIMITS): PlanFile {
  if (!(bytes instanceof Uint8Array)) throw wrongText("the bytes of a plan are a Uint8Array");
  const sections = unpackSections(bytes);
  const plan = readPlan(sections, limits);
  const metadata = readMetadata(sections.get("META"));
  const pieces = readPieces(sections.get("PIEC"), plan.cells);
  const unknown = [...sections.keys()].find((tag) => !sectionsOf(plan).includes(tag));
  if (unknown !== undefined)
    throw fileError(`a ${plan.layout} plan has no section ${JSON.stringify(unknown)}`);
  try {
    checkPlanAlone(plan, null, limits);
  } catch (cause) {
    if (!(cause instanceof KvfoldError) || cause.code === "KVFOLD_PLAN_LIMIT") throw cause;
    throw fileError(`the plan is not valid: ${cause.what}`, { cause });
  }
  return { plan, metadata, pieces };
}

const sectionsOf = (plan: MergePlan): readonly string[] => [
  ...["HEAD", "POSN", "CNTS", "MEMB", "BIAS", "PINS", "META", "PIEC"],
  ...VALUE_TAGS,
  ...(plan.layout === "shared" ? ["OFFS", "KEYW", "VALW"] : []),
];

type Sections = ReadonlyMap<string, Uint8Array>;

function readPlan(sections: Sections, limits: PlanLimits): MergePlan {
  const head = unpack32(need(sections, "HEAD"), HEAD_WORDS, "HEAD");
  const [layout, cells, rows, droppedLow, droppedHigh, layers, kvHeads, frame, keyScope, valueScope] = head;
  if (cells! > limits.cells || rows! > limits.cells) {
    throw planError(
      "KVFOLD_PLAN_LIMIT",
      `a plan of ${cells} cells and ${rows} rows, the limit is ${limits.cells}`,
    );
  }
  const base: PlanBase = {
    version: PLAN_VERSION,
    cells: cells!,
    rows: rows!,
    positions: new Int32Array(unpack32(need(sections, "POSN"), rows!, "POSN").buffer),
    counts: unpack32(need(sections, "CNTS"), rows!, "CNTS"),
    dropped: droppedHigh! * 2 ** 32 + droppedLow!,
    bias: readFloats(sections.get("BIAS"), rows!, "BIAS"),
    pins: sections.get("PINS")?.slice() ?? null,
    ...readValues(sections, rows!, limits),
  };
  const members = readWords(sections, "MEMB", limits);
  const name = pick(LAYOUTS, layout!, "layout");
  if (name === "composite") return { ...base, layout: name, layers: layers!, kvHeads: kvHeads!, members };
  return {
    ...base,
    layout: name,
    members,
    offsets: unpack32(need(sections, "OFFS"), rows! + 1, "OFFS"),
    keyFrame: pick(KEY_FRAMES, frame!, "key frame"),
    keyWeights: readWeights(sections, "KEYW", keyScope!, limits),
    valueWeights: readWeights(sections, "VALW", valueScope!, limits),
  } satisfies SharedPlan;
}

function need(sections: Sections, tag: string): Uint8Array {
  const bytes = sections.get(tag);
  if (bytes === undefined) throw fileError(`section ${tag} is missing`);
  return bytes;
}

function pick<T>(names: readonly T[], index: number, what: string): T {
  const name = names[index];
  if (name === undefined) throw fileError(`${what} ${index} is unknown`);
  return name;
}

/** All words of a section whose length the plan's own rules judge afterwards. */
function readWords(sections: Sections, tag: string, limits: PlanLimits): Uint32Array<ArrayBuffer> {
  const bytes = need(sections, tag);
  const length = Math.floor(bytes.length / 4);
  if (length > limits.entries) {
    throw planError("KVFOLD_PLAN_LIMIT", `${tag} has ${length} entries, the limit is ${limits.entries}`);
  }
  return unpack32(bytes, length, tag);
}

const readFloats = (bytes: Uint8Array | undefined, length: number, tag: string): Float32Array | null =>
  bytes === undefined ? null : new Float32Array(unpack32(bytes, length, tag).buffer);

const readWeights = (sections: Sections, tag: string, scope: number, limits: PlanLimits): Weights => ({
  scope: pick(SCOPES, scope, "scope"),
  data: new Float32Array(readWords(sections, tag, limits).buffer),
});

function readText(bytes: Uint8Array, what: string): unknown {
  if (bytes.length > TEXT_LIMIT) {
    throw planError("KVFOLD_PLAN_LIMIT", `${bytes.length} bytes of ${what}, the limit is ${TEXT_LIMIT}`);
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw fileError(`the ${what} cannot be read`, { cause });
  }
}

const isText = (value: unknown): value is string => typeof value === "string";

function readMetadata(bytes: Uint8Array | undefined): Record<string, string> {
  if (bytes === undefined) return {};
  const value = readText(bytes, "metadata");
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw fileError("the metadata is no object");
  const entries = Object.entries(value);
  if (!entries.every(([, text]) => isText(text))) throw fileError("the metadata holds more than strings");
  return Object.fromEntries(entries);
}

function readPieces(bytes: Uint8Array | undefined, cells: number): string[] | null {
  if (bytes === undefined) return null;
  const value = readText(bytes, "pieces");
  if (!Array.isArray(value) || !value.every(isText)) throw fileError("the pieces are no list of strings");
  if (value.length !== cells) throw fileError(`${value.length} pieces for ${cells} cells`);
  return value;
}
