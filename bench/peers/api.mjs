// What the API is measured against: Fastify, and pg where there is a database.
//
// node api.mjs PORT KEY [DATABASE PROJECT_ID LIST_ID]
import crypto from "node:crypto";
import Fastify from "fastify";
import pg from "pg";

const [port, key, database, projectId, listId] = process.argv.slice(2);
const PEPPER = "a-pepper-for-benchmarks-only-0123456789";
const app = Fastify({ logger: false });

app.get("/bare", async () => ({ data: { status: "ok" } }));

// A click: both parts of the link are verified, the event is buffered, the reader is led on. Where
// there is a database, each event ends there, in blocks.
const uuid7 = () => {
  const raw = crypto.randomBytes(16);
  raw.writeUIntBE(Date.now(), 0, 6);
  raw[6] = 0x70 | (raw[6] & 0x0f);
  raw[8] = 0x80 | (raw[8] & 0x3f);
  return raw.toString("hex");
};
let events = [];
function verified(purpose, token) {
  const raw = Buffer.from(token, "base64url");
  if (raw.length < 17) return null;
  const payload = raw.subarray(0, raw.length - 16);
  const mac = crypto.createHmac("sha256", PEPPER).update(purpose).update(payload).digest().subarray(0, 16);
  return crypto.timingSafeEqual(mac, raw.subarray(raw.length - 16)) ? payload : null;
}
export function signed(purpose, payload) {
  const mac = crypto.createHmac("sha256", PEPPER).update(purpose).update(payload).digest().subarray(0, 16);
  return Buffer.concat([payload, mac]).toString("base64url");
}
app.get("/c/:recipient/:link", async (request, reply) => {
  const reader = verified("click", request.params.recipient);
  const url = verified("link", request.params.link);
  if (reader === null || url === null) return reply.code(404).send({ error: "not_found" });
  if (events.length >= 50000) events = [];
  events.push([Date.now(), reader, url, request.headers["user-agent"], request.ip]);
  return reply.code(302).header("location", url.toString("latin1")).header("cache-control", "no-store").send();
});

if (database !== undefined) {
  const pool = new pg.Pool({ connectionString: database, max: 20 });
  const note = {
    name: "note",
    text: `INSERT INTO events (id, project_id, type, data, created_at)
           SELECT id, $1, 'message.clicked', data::jsonb, at
           FROM unnest($2::uuid[], $3::text[], $4::timestamptz[]) AS rows (id, data, at)`,
  };
  const flush = async () => {
    const block = events;
    events = [];
    if (block.length === 0) return;
    const data = block.map(([, reader, url, agent, ip]) => JSON.stringify({
      message: { id: reader.toString("hex"), url: url.toString("latin1") },
      request: { method: "GET", user_agent: agent ?? null, purpose: null, ip },
    }));
    const values = [projectId, block.map(uuid7), data, block.map(([at]) => new Date(at))];
    await pool.query({ ...note, values });
  };
  setInterval(() => flush().catch((error) => process.stderr.write(`${error}\n`)), 500);
  const digest = (text) => crypto.createHmac("sha256", PEPPER).update(text).digest("hex");
  const keys = new Map([[digest(key), projectId]]);
  const body = {
    type: "object",
    required: ["list_id", "email"],
    additionalProperties: false,
    properties: {
      list_id: { type: "string" },
      email: { type: "string", maxLength: 320, pattern: "^[^@\\s]+@[^@\\s]+$" },
      first_name: { type: "string", maxLength: 200 },
    },
  };
  const upsert = {
    name: "upsert",
    text: `INSERT INTO subscribers (id, project_id, list_id, email, address_key, first_name, tags,
             custom_fields, status, subscribed_at, created_at, updated_at)
           VALUES ($1, $2, $3, $4, $5, $6, '[]', '{}', 'active', now(), now(), now())
           ON CONFLICT (list_id, address_key) DO UPDATE
             SET first_name = excluded.first_name, updated_at = excluded.updated_at
           RETURNING *, (xmax = 0) AS is_new`,
  };
  app.post("/subscribers", { schema: { body } }, async (request, reply) => {
    const project = keys.get(digest((request.headers.authorization ?? "").slice(7)));
    if (project === undefined) return reply.code(401).send({ error: "unauthenticated" });
    const { email, first_name: firstName } = request.body;
    const values = [uuid7(), project, listId, email, email.toLowerCase(), firstName ?? null];
    const { rows } = await pool.query({ ...upsert, values });
    return reply.code(rows[0].is_new ? 201 : 200).send({ data: rows[0] });
  });
}

await app.listen({ port: Number(port), host: "127.0.0.1" });
const reader = signed("click", crypto.randomBytes(36));
const link = signed("link", Buffer.from("https://shop.example.org/lamps?a=1&b=2"));
process.stdout.write(`/c/${reader}/${link}\n`);
