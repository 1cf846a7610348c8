// The description of the API as a page. Text is only ever set as text: nothing in it becomes markup.

const byId = (id) => document.getElementById(id);

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

const nameOf = (ref) => ref.split("/").pop();

function typeOf(schema) {
  if (schema.$ref) return nameOf(schema.$ref);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  for (const how of ["anyOf", "oneOf"]) {
    if (schema[how]) return [...new Set(schema[how].map(typeOf))].join(" | ");
  }
  if (schema.maxItems === 0) return "[]";
  if (schema.type === "array") return schema.items ? `[${typeOf(schema.items)}]` : "[]";
  if (schema.type === "object" && schema.additionalProperties?.type) return `{…: ${typeOf(schema.additionalProperties)}}`;
  return schema.type ?? "any";
}

function table(rows) {
  const shown = document.createElement("table");
  const body = shown.createTBody();
  for (const { name, needed, schema, description } of rows) {
    const row = body.insertRow();
    const first = row.insertCell();
    first.append(make("code", name));
    if (needed) first.append(make("span", " needed", "needed"));
    row.insertCell().append(make("code", typeOf(schema)));
    const fallback = schema.default !== undefined && schema.default !== null ? `Default ${JSON.stringify(schema.default)}. ` : "";
    row.insertCell().textContent = fallback + (description ?? schema.description ?? "").replaceAll("``", "");
  }
  return shown;
}

function fields(schema, schemas) {
  const known = schema.$ref ? schemas[nameOf(schema.$ref)] : schema;
  const needed = new Set(known.required ?? []);
  return Object.entries(known.properties ?? {}).map(([name, one]) => ({ name, needed: needed.has(name), schema: one }));
}

function example(method, path, operation, schemas, prefix) {
  const parts = ["curl"];
  if (method !== "GET") parts.push("-X", method);
  if (operation.security) parts.push("-H 'X-API-Token: …'");
  const queries = (operation.parameters ?? []).filter((one) => one.in === "query" && one.required);
  const query = queries.length ? `?${queries.map((one) => `${one.name}=…`).join("&")}` : "";
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) {
    const wanted = fields(body, schemas).filter((one) => one.needed);
    const sent = Object.fromEntries(wanted.map((one) => [one.name, one.name === "url" ? "http://provider.example/live/1.ts" : "…"]));
    parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(sent)}'`);
  }
  parts.push(`'${location.origin}${prefix}${path}${query}'`);
  return parts.join(" ");
}

function shown(method, path, operation, schemas, prefix) {
  const details = document.createElement("details");
  details.dataset.words = `${method} ${path} ${operation.summary}`.toLowerCase();
  const summary = document.createElement("summary");
  summary.append(make("span", method, `method ${method.toLowerCase()}`), make("code", path), make("span", operation.summary, "says"));
  if (operation.security) summary.append(make("span", "token", "key"));
  const body = make("div", "", "body");
  if (operation.description) body.append(make("p", operation.description));
  if (operation.parameters) {
    body.append(make("h3", "Parameters"), table(operation.parameters.map((one) => ({ ...one, name: `${one.name} (${one.in})`, needed: one.required }))));
  }
  const sent = operation.requestBody?.content["application/json"].schema;
  if (sent) body.append(make("h3", "Body, JSON"), table(fields(sent, schemas)));
  const answer = operation.responses["200"].content?.["application/json"].schema;
  if (answer) body.append(make("h3", "Answer, JSON"), table(fields(answer, schemas)));
  const codes = Object.entries(operation.responses).map(([code, one]) => `${code} ${one.description}`);
  body.append(make("h3", "Status"), make("p", codes.join(" · ")));
  body.append(make("h3", "From a shell"), make("pre", example(method, path, operation, schemas, prefix)));
  details.append(summary, body);
  return details;
}

function show(description) {
  const prefix = description.servers[0].url.replace(/\/$/, "");
  const groups = new Map();
  let count = 0;
  for (const [path, operations] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const [tag] = operation.tags;
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(shown(method.toUpperCase(), path, operation, description.components.schemas, prefix));
      count += 1;
    }
  }
  for (const tag of ["Streams and clients", "Playing", "Channels", "Webhooks", "Operation"]) {
    if (!groups.has(tag)) continue;
    const group = make("section", "", "group");
    group.append(make("h2", tag), ...groups.get(tag));
    byId("groups").append(group);
  }
  byId("summary").textContent = `${count} requests, version ${description.info.version}`;
}

function find(words) {
  let left = 0;
  for (const group of document.querySelectorAll(".group")) {
    let here = 0;
    for (const one of group.querySelectorAll("details")) {
      one.hidden = !one.dataset.words.includes(words);
      here += one.hidden ? 0 : 1;
    }
    group.hidden = here === 0;
    left += here;
  }
  byId("none").hidden = left > 0;
}

byId("filter").addEventListener("input", (event) => find(event.target.value.trim().toLowerCase()));

try {
  const answer = await fetch(document.querySelector("meta[name=openapi]").content);
  if (!answer.ok) throw new Error(`the daemon answers ${answer.status}`);
  show(await answer.json());
} catch (error) {
  byId("summary").textContent = "";
  byId("notice").textContent = `The description could not be loaded: ${error.message}. Reload the page to try again.`;
  byId("notice").hidden = false;
}
