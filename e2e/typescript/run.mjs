// Drives a balancer with the official TypeScript SDK.
// usage: node run.mjs BASE_URL CLIENT_KEY MODEL
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const [baseURL, authToken, model] = process.argv.slice(2);
const client = new Anthropic({ baseURL, authToken, apiKey: null, maxRetries: 0 });
const messages = [{ role: "user", content: "hello there" }];
const params = { model, max_tokens: 256, messages };

const steps = {
  async create() {
    const message = await client.messages.create(params);
    assert.equal(message.type, "message");
    assert.ok(message.content[0].text);
    assert.ok(message.usage.input_tokens > 0);
    assert.match(message._request_id, /^req_/);
  },

  async stream() {
    const stream = client.messages.stream(params);
    let text = "";
    stream.on("text", (piece) => (text += piece));
    const message = await stream.finalMessage();
    assert.equal(message.content[0].text, text);
    assert.equal(message.stop_reason, "end_turn");
    assert.ok(message.usage.output_tokens > 0);
  },

  async rawStream() {
    const types = [];
    for await (const event of await client.messages.create({ ...params, stream: true })) types.push(event.type);
    assert.equal(types[0], "message_start");
    assert.equal(types.at(-1), "message_stop");
  },

  async countTokens() {
    const { input_tokens } = await client.messages.countTokens({ model, messages });
    assert.ok(input_tokens > 0);
  },

  async models() {
    const ids = [];
    for await (const { id } of client.models.list({ limit: 4 })) ids.push(id);
    assert.ok(ids.length > 4, `only ${ids.length} models`);
    assert.equal((await client.models.retrieve(model)).id, model);
  },

  async badRequest() {
    await assert.rejects(client.messages.create({ ...params, messages: [] }), (err) => {
      assert.ok(err instanceof Anthropic.BadRequestError, `${err}`);
      assert.equal(err.error.error.type, "invalid_request_error");
      assert.match(err.requestID, /^req_/);
      return true;
    });
  },

  async unknownModel() {
    await assert.rejects(client.messages.create({ ...params, model: "gpt-1" }), Anthropic.NotFoundError);
  },

  async wrongKey() {
    const stranger = new Anthropic({ baseURL, authToken: null, apiKey: "sk-wrong", maxRetries: 0 });
    await assert.rejects(stranger.messages.create(params), (err) => {
      assert.ok(err instanceof Anthropic.AuthenticationError, `${err}`);
      assert.equal(err.error.error.type, "authentication_error");
      return true;
    });
  },
};

for (const [name, step] of Object.entries(steps)) {
  try {
    await step();
    console.log(`ok ${name}`);
  } catch (err) {
    console.log(`FAILED ${name}: ${err.stack}`);
    process.exitCode = 1;
  }
}
