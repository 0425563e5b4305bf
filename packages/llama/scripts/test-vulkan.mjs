// The conformance suite of executors for the ggml executor on a Vulkan device: fetches the one prebuilt package with the backend into a folder
// that git ignores, when it is not there yet. On machines without a GPU, Mesa's software device (lavapipe) is used.
// node scripts/test-vulkan.mjs [arguments for vitest in place of the suite's, for example test/device/live]
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGE = "@node-llama-cpp/linux-x64-vulkan";
const VERSION = "3.22.1";
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, "build-devices");
const library = join(folder, "node_modules", PACKAGE, "bins", "linux-x64-vulkan", "libggml-vulkan.so");

/** Ends with one line. */
function fail(message) {
  console.error(`[kvfold] [llama] ${message}`);
  process.exit(1);
}

/** By npm itself, with its settings and its check of the package's hash; no script of the package runs. */
function fetchLibrary() {
  if (existsSync(library)) return;
  mkdirSync(folder, { recursive: true });
  const args = ["install", "--prefix", folder, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
  // the package is for one platform, and the folder is no workspace of the repository
  const { status } = spawnSync("npm", [...args, "--workspaces=false", `${PACKAGE}@${VERSION}`], {
    cwd: folder,
    stdio: "inherit",
  });
  if (status !== 0 || !existsSync(library)) fail(`npm could not fetch ${PACKAGE}@${VERSION}`);
}

/** Devices that ggml is told to take although they are processors, unless the caller has chosen. */
function softwareDevice() {
  if (process.env.KVFOLD_VULKAN_DEVICE === "gpu") return {};
  const drivers = "/usr/share/vulkan/icd.d";
  const driver = existsSync(drivers)
    ? readdirSync(drivers).find((name) => name.startsWith("lvp_icd"))
    : undefined;
  if (driver === undefined)
    fail(
      "Mesa's software Vulkan device is not installed (Debian: apt-get install mesa-vulkan-drivers libvulkan1)",
    );
  const path = join(drivers, driver);
  return { VK_DRIVER_FILES: path, VK_ICD_FILENAMES: path, GGML_VK_VISIBLE_DEVICES: "0" };
}

fetchLibrary();
const vitest = join(dirname(fileURLToPath(import.meta.resolve("vitest/package.json"))), "vitest.mjs");
const asked = process.argv.slice(2);
const { status } = spawnSync(
  process.execPath,
  // the processor is tested by npm test
  [vitest, "run", ...(asked.length > 0 ? asked : ["test/device/executor", "-t", "Vulkan"])],
  {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...softwareDevice(), KVFOLD_LLAMA_DEVICE_LIBRARY: library },
  },
);
process.exit(status ?? 1);
