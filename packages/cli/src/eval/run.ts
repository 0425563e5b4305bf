/** Runs the grids of `kvfold eval`: opens model and result file, and hands on rows as tables are finished. */
import {
  type CellGroup,
  type EvalCell,
  type EvalRow,
  evalRow,
  type GridPart,
  type KlWindow,
  klPart,
  makeKlWindows,
  makePasskeyCases,
  openResults,
  type PasskeyCase,
  passkeyPart,
  type Results,
  runGrid,
  spreadDepths,
} from "@kvfold/eval";
import { LLAMA_VERSION, type LlamaModel } from "@kvfold/llama";
import { type OpenOptions, refuseTokens, withEngine, withModel } from "../engine.js";
import { passkeyRoom } from "../passkey/measure.js";
import { type GridDisplay, gridDisplay } from "./progress.js";
import type { GridSettings, KlSettings, PasskeyGridSettings } from "./settings.js";

export interface GridRunOptions extends Omit<OpenOptions, "settings"> {
  /** Takes each row of a table as soon as the table is finished. */
  readonly onRow: (row: EvalRow) => void;
}

/** @returns all cells of the grid */
export function runKlGrid(settings: KlSettings, options: GridRunOptions): Promise<EvalCell[]> {
  return inFile(settings, (results) =>
    withModel({ settings, ...options }, async (model) => {
      const { window, windows, text, textName } = settings;
      const longest = Math.max(...settings.tokens);
      refuseTokens(model, longest + window, `--tokens ${longest} with --window ${window}`);
      const cases: KlGroup[] = [];
      for (const tokens of settings.tokens) {
        cases.push({
          windows: await makeKlWindows(model, { text, name: textName, tokens, windows, window }),
          group: groupOf(settings, "kl", tokens, { text: textName, window }, {}),
        });
      }
      const signals = settings.runs.flatMap((run) => run.strategy.signals);
      return withEngine(model, settings, { prompt: longest, after: window, signals }, (engine) =>
        measure(settings, options, results, "window", (display) =>
          cases.map((one) =>
            klPart(engine, { ...one, seed: settings.seed, signal: options.signal, onEvent: display.task }),
          ),
        ),
      );
    }),
  );
}

/** @returns all cells of the grid */
export function runPasskeyGrid(settings: PasskeyGridSettings, options: GridRunOptions): Promise<EvalCell[]> {
  return inFile(settings, (results) =>
    withModel({ settings, ...options }, async (model) => {
      const longest = Math.max(...settings.tokens);
      refuseTokens(model, longest, `--tokens ${longest}`);
      const parts = await passkeyCases(model, settings);
      const room = passkeyRoom(
        parts.flatMap(({ cases }) => cases),
        settings.runs,
      );
      const { seed, foldEvery } = settings;
      return withEngine(model, settings, room, (engine) =>
        measure(settings, options, results, "trial", (display) =>
          parts.map((part) =>
            passkeyPart(engine, {
              ...part,
              seed,
              signal: options.signal,
              ...(foldEvery === undefined ? {} : { foldEvery }),
              onEvent: display.task,
            }),
          ),
        ),
      );
    }),
  );
}

// ---------------------------------------------------------------------------------------------------------------

async function inFile<T>(settings: GridSettings, work: (results: Results) => Promise<T>): Promise<T> {
  const results = openResults(settings.output);
  try {
    return await work(results);
  } finally {
    results.close();
  }
}

async function measure(
  { runs }: GridSettings,
  { progress, signal, onRow }: GridRunOptions,
  results: Results,
  word: "window" | "trial",
  partsOf: (display: GridDisplay) => GridPart[],
): Promise<EvalCell[]> {
  const display = gridDisplay(progress, word);
  const cells: EvalCell[] = [];
  await runGrid({
    parts: partsOf(display),
    runs,
    results,
    signal,
    onEvent: (event) => {
      display.grid(event);
      if (event.type !== "part") return;
      for (const own of event.cells) {
        const row = evalRow(own);
        results.addRow(row);
        onRow(row);
        cells.push(...own);
      }
    },
  });
  return cells;
}

interface KlGroup {
  readonly group: CellGroup;
  readonly windows: readonly KlWindow[];
}

interface PasskeyGroup {
  readonly group: CellGroup;
  readonly cases: readonly PasskeyCase[];
}

async function passkeyCases(model: LlamaModel, settings: PasskeyGridSettings): Promise<PasskeyGroup[]> {
  const { trials, seed, foldEvery = null } = settings;
  const depths = spreadDepths(trials);
  const groups: PasskeyGroup[] = [];
  for (const tokens of settings.tokens) {
    for (const haystack of settings.haystacks) {
      for (const key of settings.keys) {
        groups.push({
          group: groupOf(settings, "passkey", tokens, { key, haystack: haystack.name }, { foldEvery }),
          cases: await makePasskeyCases(model, { tokens, key, haystack, depths, trials, seed }),
        });
      }
    }
  }
  return groups;
}

function groupOf(
  { model, modelHash, cacheType, flashAttention, seed }: GridSettings,
  task: CellGroup["task"],
  tokens: number,
  labels: CellGroup["labels"],
  more: CellGroup["conditions"],
): CellGroup {
  const conditions = { modelHash, cacheType, flashAttention, seed, ...more, llama: LLAMA_VERSION };
  return { task, model: model.name, tokens, labels, conditions };
}
