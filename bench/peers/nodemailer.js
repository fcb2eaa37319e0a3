// A pool of nodemailer that builds and signs each mail: nodemailer.js PORT COUNT PARTS KEY
// prints the seconds that COUNT mails took. PARTS is JSON with subject, html and text.
import { readFileSync } from "node:fs";
import nodemailer from "nodemailer";

const [port, count, parts, key] = process.argv.slice(2);
const { subject, html, text } = JSON.parse(readFileSync(parts, "utf8"));
const transport = nodemailer.createTransport({
  pool: true,
  host: "127.0.0.1",
  port: Number(port),
  secure: false,
  ignoreTLS: true,
  maxConnections: 10,
  maxMessages: Infinity,
  dkim: { domainName: "example.com", keySelector: "bench", privateKey: readFileSync(key, "utf8") },
});

let next = 0;
async function work() {
  while (next < Number(count)) {
    const number = next++;
    await transport.sendMail({
      from: "News <news@example.com>",
      to: `reader${number}@example.com`,
      subject,
      html: html.replaceAll("Reader 0", `Reader ${number}`),
      text: text.replaceAll("Reader 0", `Reader ${number}`),
      headers: { "List-Unsubscribe": `<https://example.com/u/${number}>` },
    });
  }
}

const started = performance.now();
await Promise.all(Array.from({ length: 20 }, work));
console.log((performance.now() - started) / 1000);
transport.close();
