#!/usr/bin/env node
// The executable; everything it does is in src/main.ts.
import "../dist/main.js";
