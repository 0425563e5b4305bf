/** Lists the repository's own files and packages for the checks of this folder. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import ts from "typescript";

/** Root of the repository. */
export const ROOT: string = join(import.meta.dirname, "..");

/** Folders that hold nothing of ours: installed, built or generated. */
const NOT_OURS = new Set(["node_modules", "dist", ".tsbuild", ".turbo", ".git", "coverage", ".kvfold"]);
const isOurs = (path: string, name: string): boolean =>
  !NOT_OURS.has(name) && !name.startsWith("build") && path !== join("docs", "api");

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return isOurs(relative(ROOT, path), entry.name) ? walk(path) : [];
    return entry.isFile() ? [path] : [];
  });
}

/** Every file of the repository that is ours, relative to its root, with forward slashes. */
export const files: readonly string[] = walk(ROOT)
  .map((path) => relative(ROOT, path).split(sep).join("/"))
  .sort();

/** Text of a file. */
export const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

/** True when the repository has this path. */
export const exists = (path: string): boolean => existsSync(join(ROOT, path));

/** Files whose name ends in one of the extensions, without the dot. */
export const withExtension = (...extensions: string[]): string[] =>
  files.filter((path) => extensions.some((extension) => path.endsWith(`.${extension}`)));

/** A package.json, as far as the checks read it. */
export interface Manifest {
  readonly name: string;
  readonly private?: boolean;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** A package of the workspace. */
export interface Package {
  /** Folder relative to the root. */
  readonly folder: string;
  readonly manifest: Manifest;
}

/** The packages under `packages/`. */
export const packages: readonly Package[] = files
  .filter((path) => /^packages\/[^/]+\/package\.json$/.test(path))
  .map((path) => ({
    folder: path.slice(0, -"/package.json".length),
    manifest: JSON.parse(read(path)) as Manifest,
  }));

/** Module names that a TypeScript or JavaScript source imports, statically, dynamically or by re-export. */
export function importsOf(source: string): string[] {
  return ts.preProcessFile(source, true, true).importedFiles.map(({ fileName }) => fileName);
}
