// SPDX-License-Identifier: MIT
// peer.js client PROTO TARGET [CASE...] | reflect PROTO TARGET | server PROTO TARGET - the cases of
// gRPC's public interoperability tests, of Node's side: a client that runs them and says of each
// whether it went well, in a line of JSON; what npm's reflection clients make of a server; and a
// server with reflection, which says its port. CA, CERT and KEY in the environment: over TLS, for
// the name localhost.
'use strict';
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const {ReflectionService} = require('@grpc/reflection');
const {GrpcReflection, Descriptor} = require('grpc-js-reflection-client');
const plain = require('grpc-reflection-js');
const assert = require('assert');
const fs = require('fs');

const [, , role, proto, target, ...wanted] = process.argv;
const definition = loader.loadSync(proto, {longs: Number, defaults: true});
const {testing} = grpc.loadPackageDefinition(definition).grpc;
const REQUESTS = [27182, 8, 1828, 45904], ANSWERS = [31415, 9, 2653, 58979];
const LARGE_REQUEST = 271828, LARGE_ANSWER = 314159, PATIENCE = 60000;
const SPECIAL = '\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1f608}\t\n';
const INITIAL = 'x-grpc-test-echo-initial', TRAILING = 'x-grpc-test-echo-trailing-bin';
const GZIP = {'grpc.default_compression_algorithm': 2};
const payload = (size) => ({body: Buffer.alloc(size)});
const simple = (more) => ({response_size: LARGE_ANSWER, payload: payload(LARGE_REQUEST), ...more});
const duplex = (request, answer, interval = 0) => ({
  response_parameters: [{size: answer, interval_us: interval}], payload: payload(request)});
const file = (name) => fs.readFileSync(process.env[name]);
const named = (object) => Object.fromEntries( // proto-loader's names are in camelCase
  Object.entries(object).map(([key, value]) => [
    key.replace(/_(.)/g, (_, c) => c.toUpperCase()),
    Array.isArray(value) ? value.map(named)
      : value && value.constructor === Object ? named(value) : value]));

// ---- a client's cases ----

const credentials = () => process.env.CA
  ? grpc.credentials.createSsl(file('CA'), file('KEY'), file('CERT'))
  : grpc.credentials.createInsecure();
const OPTIONS = {'grpc.ssl_target_name_override': 'localhost', 'grpc.enable_http_proxy': 0,
  'grpc.max_receive_message_length': 16 << 20};
const connect = (service, more) => new service(target, credentials(), {...OPTIONS, ...more});
const within = (ms = PATIENCE) => ({deadline: Date.now() + ms});

function unary(client, method, request, metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    const got = {};
    const call = client[method](named(request), metadata, within(),
      (error, reply) => { if (error) reject(error); else got.reply = reply; });
    call.on('metadata', (m) => { got.initial = m; });
    call.on('status', (s) => { got.status = s; if (s.code === 0) setImmediate(resolve, got); });
  });
}

function ended(call) { // the messages of a stream, until its status
  return new Promise((resolve, reject) => {
    const got = {replies: []};
    call.on('data', (reply) => got.replies.push(reply));
    call.on('metadata', (m) => { got.initial = m; });
    call.on('error', reject);
    call.on('status', (s) => { got.status = s; if (s.code === 0) setImmediate(resolve, got); });
  });
}

async function fails(code, promise) {
  let error = null;
  await promise.catch((e) => { error = e; });
  assert(error, 'it went well');
  assert.strictEqual(error.code, code, String(error));
  return error;
}

const sizes = (got) => got.replies.map((reply) => reply.payload.body.length);

function input(client, requests, more) {
  return new Promise((resolve, reject) => {
    const call = client.streamingInputCall(new grpc.Metadata(), within(),
      (error, reply) => (error ? reject(error) : resolve(reply)));
    for (const size of requests) call.write(named({payload: payload(size), ...more}));
    call.end();
  });
}

const echoed = () => {
  const metadata = new grpc.Metadata();
  metadata.set(INITIAL, 'test_initial_metadata_value');
  metadata.set(TRAILING, Buffer.from([0xab, 0xab, 0xab]));
  return metadata;
};

function isEchoed(got) {
  assert.deepStrictEqual(got.initial.get(INITIAL), ['test_initial_metadata_value']);
  assert.deepStrictEqual(got.status.metadata.get(TRAILING), [Buffer.from([0xab, 0xab, 0xab])]);
}

async function statusIs(client, text) {
  const status = {response_status: {code: 2, message: text}};
  assert.strictEqual((await fails(2, unary(client, 'unaryCall', status))).details, text);
  const call = client.fullDuplexCall(within());
  call.write(named(status));
  call.end();
  assert.strictEqual((await fails(2, ended(call))).details, text);
}

const CASES = {
  async empty_unary(client) { await unary(client, 'emptyCall', {}); },
  async large_unary(client) {
    const {reply} = await unary(client, 'unaryCall', simple());
    assert.strictEqual(reply.payload.body.length, LARGE_ANSWER);
  },
  async client_compressed_unary(client) {
    await fails(3, unary(client, 'unaryCall', simple({expect_compressed: {value: true}})));
    const gzip = connect(testing.TestService, GZIP);
    await unary(gzip, 'unaryCall', simple({expect_compressed: {value: true}}));
    await unary(client, 'unaryCall', simple({expect_compressed: {value: false}}));
    gzip.close();
  },
  async server_compressed_unary(client) {
    for (const value of [true, false]) {
      const {reply} = await unary(client, 'unaryCall', simple({response_compressed: {value}}));
      assert.strictEqual(reply.payload.body.length, LARGE_ANSWER);
    }
  },
  async client_streaming(client) {
    assert.strictEqual((await input(client, REQUESTS)).aggregatedPayloadSize, 74922);
  },
  async client_compressed_streaming(client) {
    const more = {expect_compressed: {value: true}};
    await fails(3, input(client, [27182], more));
    const gzip = connect(testing.TestService, GZIP);
    assert.strictEqual((await input(gzip, [27182, 45904], more)).aggregatedPayloadSize, 73086);
    gzip.close();
  },
  async server_streaming(client) {
    const request = {response_parameters: ANSWERS.map((size) => ({size}))};
    const got = await ended(client.streamingOutputCall(named(request), within()));
    assert.deepStrictEqual(sizes(got), ANSWERS);
  },
  async server_compressed_streaming(client) {
    const request = {response_parameters: [{size: 31415, compressed: {value: true}},
      {size: 92653, compressed: {value: false}}]};
    const got = await ended(client.streamingOutputCall(named(request), within()));
    assert.deepStrictEqual(sizes(got), [31415, 92653]);
  },
  async ping_pong(client) {
    const call = client.fullDuplexCall(within());
    const got = ended(call);
    let i = 0;
    call.on('data', () => { // each answer before the next request
      if (++i < REQUESTS.length) call.write(named(duplex(REQUESTS[i], ANSWERS[i])));
      else call.end();
    });
    call.write(named(duplex(REQUESTS[0], ANSWERS[0])));
    assert.deepStrictEqual(sizes(await got), ANSWERS);
  },
  async empty_stream(client) {
    const call = client.fullDuplexCall(within());
    call.end();
    assert.deepStrictEqual(sizes(await ended(call)), []);
  },
  async custom_metadata(client) {
    isEchoed(await unary(client, 'unaryCall', simple(), echoed()));
    const call = client.fullDuplexCall(echoed(), within());
    call.write(named(duplex(LARGE_REQUEST, LARGE_ANSWER)));
    call.end();
    isEchoed(await ended(call));
  },
  async status_code_and_message(client) { await statusIs(client, 'test status message'); },
  async special_status_message(client) { await statusIs(client, SPECIAL); },
  async unimplemented_method(client) {
    await fails(12, unary(client, 'unimplementedCall', {}));
  },
  async unimplemented_service() {
    const client = connect(testing.UnimplementedService);
    await fails(12, unary(client, 'unimplementedCall', {}));
    client.close();
  },
  async cancel_after_begin(client) {
    await fails(1, new Promise((resolve, reject) => {
      const call = client.streamingInputCall(new grpc.Metadata(), within(),
        (error, reply) => (error ? reject(error) : resolve(reply)));
      call.cancel();
    }));
  },
  async cancel_after_first_response(client) {
    const call = client.fullDuplexCall(within());
    const got = ended(call);
    call.write(named(duplex(27182, 31415)));
    call.once('data', () => call.cancel());
    await fails(1, got);
  },
  async timeout_on_sleeping_server(client) {
    const call = client.fullDuplexCall(within(1));
    const got = ended(call);
    call.write(named(duplex(27182, 31415, 100000)));
    await fails(4, got);
  },
  async concurrent_large_unary(client) {
    const calls = Array.from({length: Number(process.env.CONCURRENT || 200)},
      () => unary(client, 'unaryCall', simple()));
    for (const {reply} of await Promise.all(calls))
      assert.strictEqual(reply.payload.body.length, LARGE_ANSWER);
  },
};

async function run(cases, names, argument) {
  for (const name of names.length ? names : Object.keys(cases)) {
    let problem = null;
    await cases[name](argument).catch((error) => { problem = String(error.stack || error); });
    console.log(JSON.stringify({case: name, problem}));
  }
  // a call that was cancelled before it had begun stays on the wire until its deadline
  process.stdout.write('', () => process.exit(0));
}

// ---- reflection: what its clients learn is enough for a call ----

const SERVICE = 'grpc.testing.TestService';

async function learns(version) {
  const client = new GrpcReflection(target, credentials(), OPTIONS, version);
  assert((await client.listServices()).includes(SERVICE));
  const methods = await client.listMethods(SERVICE);
  assert.deepStrictEqual(methods.map((m) => m.name).sort(),
    Object.values(testing.TestService.service).map((m) => m.originalName[0].toUpperCase() +
      m.originalName.slice(1)).sort());
  const learnt = (await client.getDescriptorBySymbol(SERVICE)).getPackageObject({longs: Number});
  const caller = connect(learnt.grpc.testing.TestService);
  const size = {response_size: 3, responseSize: 3}; // a descriptor of Node's own has the second
  const reply = await new Promise((resolve, reject) => {
    caller.unaryCall(size, (error, r) => (error ? reject(error) : resolve(r)));
  });
  assert.deepStrictEqual(reply.payload.body, Buffer.alloc(3));
  caller.close();
  await client.getDescriptorBySymbol('not.There').then(
    () => assert.fail('what is not there was found'),
    (error) => assert.match(String(error), /not.There|not found|NOT_FOUND/i));
}

const REFLECTION = {
  'grpc-js-reflection-client, v1': () => learns('v1'),
  'grpc-js-reflection-client, v1alpha': () => learns('v1alpha'),
  async 'grpc-reflection-js'() {
    const client = new plain.Client(target, credentials(), OPTIONS);
    assert((await client.listServices()).includes(SERVICE));
    const root = await client.fileContainingSymbol(SERVICE);
    assert(root.lookupService(SERVICE).methods.UnaryCall.requestType.endsWith('SimpleRequest'));
    client.grpcClient.close();
  },
};

// ---- a server ----

function echo(call) {
  const [initial] = call.metadata.get(INITIAL), [trailing] = call.metadata.get(TRAILING);
  const metadata = new grpc.Metadata(), trailer = new grpc.Metadata();
  if (initial) metadata.set(INITIAL, initial);
  if (trailing) trailer.set(TRAILING, trailing);
  call.sendMetadata(metadata);
  return trailer;
}

const askedStatus = (request) => (request.responseStatus && request.responseStatus.code
  ? {code: request.responseStatus.code, details: request.responseStatus.message} : null);
const after = (us) => new Promise((resolve) => setTimeout(resolve, us / 1000));

async function answer(call, request) {
  for (const p of request.responseParameters) {
    if (p.intervalUs) await after(p.intervalUs);
    call.write({payload: payload(p.size)});
  }
}

const handlers = {
  emptyCall(call, done) { done(null, {}, echo(call)); },
  unaryCall(call, done) {
    const trailer = echo(call), status = askedStatus(call.request);
    if (status) done({...status, metadata: trailer});
    else done(null, {payload: payload(call.request.responseSize)}, trailer);
  },
  async streamingOutputCall(call) {
    const trailer = echo(call);
    await answer(call, call.request);
    call.end(trailer);
  },
  streamingInputCall(call, done) {
    let total = 0;
    call.on('data', (request) => { total += request.payload.body.length; });
    call.on('end', () => done(null, {aggregatedPayloadSize: total}));
  },
  fullDuplexCall(call) {
    const trailer = echo(call);
    let before = Promise.resolve(), status = null;
    call.on('data', (request) => {
      status = status || askedStatus(request);
      before = before.then(() => answer(call, request));
    });
    call.on('end', async () => {
      await before;
      if (status) call.emit('error', {...status, metadata: trailer});
      else call.end(trailer);
    });
  },
};

function serve() {
  const server = new grpc.Server();
  const secure = process.env.CA
    ? grpc.ServerCredentials.createSsl(file('CA'),
      [{private_key: file('KEY'), cert_chain: file('CERT')}], true)
    : grpc.ServerCredentials.createInsecure();
  server.addService(testing.TestService.service, handlers);
  new ReflectionService(definition).addToServer(server);
  server.bindAsync(target, secure, (error, port) => {
    if (error) throw error;
    console.log(port);
  });
  process.stdin.resume().on('end', () => process.exit(0));
}

if (role === 'server') serve();
else if (role === 'reflect') run(REFLECTION, wanted);
else run(CASES, wanted, connect(testing.TestService));
