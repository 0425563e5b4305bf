/** Dependencies of the packages point one way, and every import is declared. */
import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import { files, importsOf, type Package, packages, read } from "./files.js";

/** A package may only use packages of a lower level. */
const LEVEL: Readonly<Record<string, number>> = {
  "@kvfold/core": 0,
  "@kvfold/model-nano": 0,
  "@kvfold/testkit": 1,
  "@kvfold/native": 2,
  "@kvfold/strategies": 2,
  "@kvfold/llama": 3,
  "@kvfold/gate-trainer": 4,
  "@kvfold/eval": 4,
  kvfold: 5,
};

/** Tools of the root that every test may import. */
const TEST_TOOLS = ["vitest", "vitest/config", "fast-check", "@fast-check/vitest"];

const isOurs = (name: string): boolean => name in LEVEL;
const packageName = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

const isTest = (path: string): boolean => /\.test\.ts$|\/test\/|\.config\.ts$|\.bench\.ts$/.test(path);

const sourcesOf = (pack: Package): string[] =>
  files.filter((path) => path.startsWith(`${pack.folder}/`) && /\.(ts|js|mjs)$/.test(path));

const runtimeDependencies = (pack: Package): string[] => [
  ...Object.keys(pack.manifest.dependencies ?? {}),
  ...Object.keys(pack.manifest.peerDependencies ?? {}),
  ...Object.keys(pack.manifest.optionalDependencies ?? {}),
];
const allDependencies = (pack: Package): string[] => [
  ...runtimeDependencies(pack),
  ...Object.keys(pack.manifest.devDependencies ?? {}),
];

describe("dependency directions", () => {
  it("knows a level for every package", () => {
    expect(packages.map((pack) => pack.manifest.name).sort()).toEqual(Object.keys(LEVEL).sort());
  });

  it("core has no dependencies", () => {
    const core = packages.find((pack) => pack.manifest.name === "@kvfold/core")!;
    expect(allDependencies(core)).toEqual([]);
  });

  it.each(packages.map((pack) => [pack.manifest.name, pack] as const))(
    "%s depends downwards",
    (name, pack) => {
      const upwards = allDependencies(pack).filter((other) => isOurs(other) && LEVEL[other]! >= LEVEL[name]!);
      expect(upwards).toEqual([]);
    },
  );

  it.each(packages.map((pack) => [pack.manifest.name, pack] as const))(
    "%s ships no test kit",
    (_name, pack) => {
      expect(runtimeDependencies(pack)).not.toContain("@kvfold/testkit");
    },
  );

  it.each(packages.map((pack) => [pack.manifest.name, pack] as const))(
    "%s lists its own packages as references of its tsconfig",
    (_name, pack) => {
      const config = JSON.parse(read(`${pack.folder}/tsconfig.json`)) as { references?: { path: string }[] };
      const referenced = (config.references ?? []).map((reference) =>
        posix.join(pack.folder, reference.path),
      );
      const depended = packages.filter((other) => allDependencies(pack).includes(other.manifest.name));
      expect(referenced.sort()).toEqual(depended.map((other) => other.folder).sort());
    },
  );
});

/** What is wrong with one import, or null. */
function fault(pack: Package, path: string, specifier: string): string | null {
  if (specifier.startsWith(".")) {
    const target = posix.join(posix.dirname(path), specifier);
    return target.startsWith(`${pack.folder}/`) ? null : `${path} reaches out of its package: ${specifier}`;
  }
  if (specifier.startsWith("node:")) return null;
  const name = packageName(specifier);
  if (name === pack.manifest.name) return null;
  if (isTest(path) && TEST_TOOLS.includes(specifier)) return null;
  const declared =
    isTest(path) || path.includes("/scripts/") ? allDependencies(pack) : runtimeDependencies(pack);
  if (!declared.includes(name))
    return `${path} imports ${specifier}, which its package.json does not declare`;
  const owner = packages.find((other) => other.manifest.name === name);
  if (owner === undefined) return null;
  const subpath = `.${specifier.slice(name.length)}`;
  return subpath in (owner.manifest.exports ?? {})
    ? null
    : `${path} imports the inside of ${name}: ${specifier}`;
}

describe("imports", () => {
  it.each(packages.map((pack) => [pack.manifest.name, pack] as const))(
    "of %s are declared",
    (_name, pack) => {
      const faults = sourcesOf(pack).flatMap((path) =>
        importsOf(read(path)).flatMap((specifier) => fault(pack, path, specifier) ?? []),
      );
      expect(faults).toEqual([]);
    },
  );

  it("finds what it claims to find", () => {
    const pack: Package = { folder: "packages/core", manifest: { name: "@kvfold/core" } };
    const source =
      'import { a } from "@kvfold/llama";\nexport * from "../../eval/src/x.js";\nawait import("left-pad");';
    const faults = importsOf(source).map((specifier) => fault(pack, "packages/core/src/x.ts", specifier));
    expect(faults).toEqual([
      "packages/core/src/x.ts imports @kvfold/llama, which its package.json does not declare",
      "packages/core/src/x.ts reaches out of its package: ../../eval/src/x.js",
      "packages/core/src/x.ts imports left-pad, which its package.json does not declare",
    ]);
  });
});
