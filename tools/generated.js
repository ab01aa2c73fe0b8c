// Replaces what stands between `<!-- NAME: generated -->` and `<!-- NAME: end -->` in a document of docs/.
'use strict';
const fs = require('fs');
const path = require('path');

/** Writes `text`, or with `check` only looks whether it is there. Returns false, and says why, if it is not. */
exports.write = function write(document, name, text, { check, renew }) {
  const file = path.join(__dirname, '..', 'docs', document);
  const [begin, end] = [`<!-- ${name}: generated -->\n`, `<!-- ${name}: end -->`];
  const old = fs.readFileSync(file, 'utf8');
  const [from, to] = [old.indexOf(begin) + begin.length, old.indexOf(end)];
  if (from < begin.length || to < from) {
    process.stderr.write(`docs/${document} has lost its marks for ${name}\n`);
    return false;
  }
  const fresh = old.slice(0, from) + text + old.slice(to);
  if (fresh === old) return true;
  if (check) {
    process.stderr.write(`${name} in docs/${document} is stale: run ${renew} and commit it\n`);
    return false;
  }
  fs.writeFileSync(file, fresh);
  process.stdout.write(`wrote ${name} in docs/${document}\n`);
  return true;
};
