/** Nothing from a file reaches the terminal as a command. */
import { expect, test } from "vitest";
import { printable } from "./printable.js";

test("control characters become dots, other text stays", () => {
  expect(printable("a\u001b[2Jb\n\r\u009b31m\u0007 ünï → 😀")).toBe("a·[2Jb···31m· ünï → 😀");
});
