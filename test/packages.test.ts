/** Every package is complete: README, configs, licence, and documented error codes. */
import { describe, expect, it } from "vitest";
import { ERROR_CODES } from "../packages/core/src/errors.js";
import { exists, packages, read, withExtension } from "./files.js";

const REQUIRED = ["README.md", "tsconfig.json", "vitest.config.ts", "typedoc.json", "src/index.ts"];

describe("packages", () => {
  it.each(packages.map((pack) => [pack.manifest.name, pack] as const))("%s is complete", (_name, pack) => {
    expect(REQUIRED.filter((file) => !exists(`${pack.folder}/${file}`))).toEqual([]);
  });

  it.each(packages.map((pack) => [pack.manifest.name, pack] as const))(
    "%s runs nothing at install",
    (_name, pack) => {
      const { scripts = {} } = JSON.parse(read(`${pack.folder}/package.json`)) as {
        scripts?: Record<string, string>;
      };
      const hooks = ["preinstall", "install", "postinstall", "prepare", "prepublish"];
      expect(Object.keys(scripts).filter((name) => hooks.includes(name))).toEqual([]);
    },
  );
});

describe("docs/errors.md", () => {
  const headings = exists("docs/errors.md")
    ? [...read("docs/errors.md").matchAll(/^#+\s+`?(KVFOLD_[A-Z_]+)`?\s*$/gm)].map((match) => match[1])
    : [];

  it("explains every error code once, and no other", () => {
    expect([...headings].sort()).toEqual(Object.keys(ERROR_CODES).sort());
  });
});

describe("links between documents", () => {
  it("lead to files that exist", () => {
    const broken = withExtension("md").flatMap((path) => {
      const folder = path.includes("/") ? path.slice(0, path.lastIndexOf("/") + 1) : "";
      const targets = [...read(path).matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)].map(
        (match) => match[1]!,
      );
      return targets.filter((target) => !exists(folder + target)).map((target) => `${path} -> ${target}`);
    });
    expect(broken).toEqual([]);
  });
});
