/** Takes the TypeScript blocks out of the documents, so that they can be compiled and run. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import ts from "typescript";
import { ROOT, read, withExtension } from "./files.js";

/** One block of a document. */
export interface Snippet {
  /** Where a compiler would find it: the document's folder and the name in `<!-- file: name.ts -->`, or a number. */
  readonly path: string;
  readonly code: string;
}

const BLOCK = /(?:<!-- file: (\S+) -->\n)?```ts\n([\s\S]*?)```/g;

/** All blocks of one document. Named blocks of one document can import each other. */
export function snippetsOf(document: string): Snippet[] {
  const name = document.split("/").at(-1)!.replace(/\.md$/, "");
  return [...read(document).matchAll(BLOCK)].map((match, i) => ({
    path: join(ROOT, dirname(document), match[1] ?? `${name}.${i}.ts`),
    code: match[2]!,
  }));
}

/** Documents whose blocks are compiled. */
export const documents: readonly string[] = withExtension("md").filter(
  (path) => !path.startsWith(".changeset/") && snippetsOf(path).length > 0,
);

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
  noEmit: true,
  types: ["node"],
  lib: ["lib.es2023.d.ts"],
};

const GLOBALS = join(ROOT, "test", "snippet-globals.d.ts");

/** What the compiler says about the blocks, one line each. */
export function compile(snippets: readonly Snippet[]): string[] {
  const texts = new Map(snippets.map(({ path, code }) => [path, code]));
  const host = ts.createCompilerHost(OPTIONS);
  const { readFile, fileExists, getSourceFile } = host;
  host.readFile = (path) => texts.get(path) ?? readFile(path);
  host.fileExists = (path) => texts.has(path) || fileExists(path);
  host.getSourceFile = (path, target, ...rest) => {
    const code = texts.get(path);
    // a block without imports would be a script, and its names global
    const module = code && /^(import|export)\b/m.test(code) ? code : `${code}\nexport {};\n`;
    return code === undefined
      ? getSourceFile(path, target, ...rest)
      : ts.createSourceFile(path, module, target);
  };
  const program = ts.createProgram([...texts.keys(), GLOBALS], OPTIONS, host);
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => {
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n");
    const { file, start = 0 } = diagnostic;
    if (!file) return text;
    return `${file.fileName.slice(ROOT.length + 1)}:${file.getLineAndCharacterOfPosition(start).line + 1} ${text}`;
  });
}

/** Writes a block as JavaScript into a folder that git ignores and the workspace resolves from; returns its path. */
export function writeModule({ path, code }: Snippet): string {
  const folder = join(ROOT, ".kvfold", "snippets");
  mkdirSync(folder, { recursive: true });
  const file = join(folder, path.split(/[\\/]/).at(-1)!.replace(/\.ts$/, ".js"));
  const { outputText } = ts.transpileModule(code, {
    compilerOptions: { ...OPTIONS, module: ts.ModuleKind.ES2022 },
  });
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(file, outputText);
  return file;
}
