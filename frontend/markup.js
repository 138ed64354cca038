// The little Markdown that models write, as elements: paragraphs, headings, lists, code, bold. All else stays text.

import { make } from "./page.js";

/** The elements of a text. Half a text, as it streams in, is as good as a whole one. */
export function elements(text) {
  const found = [];
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  for (let at = 0; at < lines.length;) {
    const [element, next] = block(lines, at);
    if (element) found.push(element);
    at = next;
  }
  return found;
}

function block(lines, at) {
  const line = lines[at];
  if (!line.trim()) return [null, at + 1];
  if (line.startsWith("```")) return code(lines, at);
  const heading = line.match(/^#{1,6} (.*)$/);
  if (heading) return [make("h4", {}, ...inline(heading[1])), at + 1];
  if (bullet(line)) return list("ul", bullet, lines, at, {});
  if (numbered(line)) return list("ol", numbered, lines, at, { start: parseInt(line, 10) });
  return paragraph(lines, at);
}

const bullet = (line) => line.match(/^\s*[-*•] (.*)$/);
const numbered = (line) => line.match(/^\s*(?:\d+)[.)] (.*)$/);
const begins = (line) => !line.trim() || line.startsWith("```") || /^#{1,6} /.test(line) || bullet(line) || numbered(line);

function code(lines, at) {
  let end = at + 1;
  while (end < lines.length && !lines[end].startsWith("```")) end += 1;
  return [make("pre", { tabindex: "0" }, make("code", {}, lines.slice(at + 1, end).join("\n"))), end + 1];
}

function list(tag, item, lines, at, properties) {
  const items = [];
  let end = at;
  for (let match; end < lines.length && (match = item(lines[end])); end += 1) items.push(make("li", {}, ...inline(match[1])));
  return [make(tag, properties, ...items), end];
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && !begins(lines[end])) end += 1;
  return [make("p", {}, ...inline(lines.slice(at, end).join("\n"))), end];
}

function inline(text) {
  return text.split(/(\*\*[^*\n]+\*\*|`[^`\n]+`)/).map((piece) => {
    if (/^\*\*.+\*\*$/.test(piece)) return make("strong", {}, piece.slice(2, -2));
    if (/^`.+`$/.test(piece)) return make("code", {}, piece.slice(1, -1));
    return piece;
  });
}
