// A real OPC UA server (node-opcua) for the driver's tests. Prints one JSON line when it listens.
//
// node server.js '{"port":0,"folder":"/tmp/x","certificate":"s.der","key":"s.pem","period":100,
//                  "items":0,"user":"reader","password":"secret","perCall":100}'
//
// Further options: "anonymous", "maxSessions", "history" (variables are historised, the history is
// in history.jsonl and outlives the process), "alarm" (an exclusive limit alarm on Level, which each
// SIGHUP moves from 50 to 80, 95, 50 …; SIGUSR2 acknowledges its branches), "conformance" (the conformance address space),
// "continueFrom" (first number of the changes), "perSubscription", "analog", "aligned" (changes are
// numbered and stamped by the clock's multiples of the period, so that two servers hold the same, as
// a redundant set does), "serviceLevel" (each SIGHUP takes it to 50 and back), "structures" (Tank and
// Tanks, of the types in tank.NodeSet2.xml, count with the changes; Loose is of an abstract type), "retype" (each SIGHUP
// gives Changing another data type, and with "structures" Shape another structure), "requests" (the
// name of every request as this server has decrypted it, with the methods of a call, one a line in
// requests.txt).
//
// In FOLDER: pki/ (trusted/certs, rejected), held.jsonl with every value a variable ever held:
// {"name","value","status","source_ms"}; 64-bit integers as decimal text.
"use strict";
const fs = require("fs");
const path = require("path");
const ua = require("node-opcua");

const options = JSON.parse(process.argv[2]);
const good = ua.StatusCodes.Good;
const statuses = [good, good, good, ua.StatusCodes.UncertainLastUsableValue, ua.StatusCodes.BadSensorFailure];

const int64 = (value) => {
  const word = BigInt.asUintN(64, value);
  return [Number(word >> 32n), Number(word & 0xffffffffn)];
};
// name: [type, value of the n-th change, how it is written into held.jsonl]
const kinds = {
  Double: ["Double", (n) => n / 7, String],
  Float: ["Float", (n) => n / 4, String],
  Int16: ["Int16", (n) => (n % 2 ? -n : n), String],
  UInt32: ["UInt32", (n) => 4294967295 - n, String],
  Int64: ["Int64", (n) => -9223372036854775808n + BigInt(n), String],
  UInt64: ["UInt64", (n) => 18446744073709551615n - BigInt(n), String],
  Boolean: ["Boolean", (n) => n % 2 === 1, String],
  String: ["String", (n) => `液位 ${n}`, String],
};

// node-opcua 2.182 ends with an assertion where the queue of an item runs over and the value that then
// comes first is not good, so that one subscription that nobody reads any more ends it for all. The
// bit stands beside whatever status there is (OPC 10000-4, StatusCode).
ua.MonitoredItem.prototype._setOverflowBit = function (notification) {
  const value = notification.value;
  if (value) value.statusCode = ua.StatusCode.makeStatusCode(value.statusCode, "Overflow | InfoTypeDataValue");
};

async function main() {
  const pki = new ua.OPCUACertificateManager({
    rootFolder: path.join(options.folder, "pki"),
    automaticallyAcceptUnknownCertificate: false,
  });
  await pki.initialize();
  const server = new ua.OPCUAServer({
    port: options.port,
    hostname: "127.0.0.1",
    resourcePath: "/UA/Plant",
    serverCertificateManager: pki,
    userCertificateManager: pki,
    certificateFile: options.certificate,
    privateKeyFile: options.key,
    serverInfo: { applicationUri: options.uri },
    allowAnonymous: Boolean(options.anonymous),
    userManager: { isValidUser: (user, password) => user === options.user && password === options.password },
    securityPolicies: [
      ua.SecurityPolicy.None,
      ua.SecurityPolicy.Basic256Sha256,
      ua.SecurityPolicy.Aes128_Sha256_RsaOaep,
      ua.SecurityPolicy.Aes256_Sha256_RsaPss,
    ],
    securityModes: [ua.MessageSecurityMode.None, ua.MessageSecurityMode.SignAndEncrypt],
    maxConnectionsPerEndpoint: 100,
    nodeset_filename: [ua.nodesets.standard].concat(
      options.structures ? [path.join(__dirname, "tank.NodeSet2.xml")] : []),
    serverCapabilities: {
      maxSessions: options.maxSessions || 100,
      maxMonitoredItemsPerSubscription: options.perSubscription || 0,
      operationLimits: {
        maxMonitoredItemsPerCall: options.perCall, maxNodesPerRead: options.perCall,
        maxNodesPerHistoryReadData: options.history ? 3 : 0,
      },
    },
  });
  if (options.requests) {
    const told = fs.openSync(path.join(options.folder, "requests.txt"), "a");
    server.on("request", (request) => {
      const calls = (request.methodsToCall || []).map((call) => `${call.objectId} ${call.methodId}`);
      fs.writeSync(told, [request.schema.name, ...calls].join(" ") + "\n");
    });
  }
  await server.initialize();
  const space = server.engine.addressSpace;
  const namespace = space.registerNamespace("urn:plantgate:peer");
  const folder = namespace.addObject({ organizedBy: space.rootFolder.objects, browseName: "Plant" });
  if (options.serviceLevel !== undefined) {
    let level = options.serviceLevel;
    space.findNode("i=2267").bindVariable({
      get: () => new ua.Variant({ dataType: ua.DataType.Byte, value: level }),
    }, true);
    process.on("SIGHUP", () => { level = level === 50 ? options.serviceLevel : 50; });
  }
  if (options.conformance) {
    const { build_address_space_for_conformance_testing } =
      require("node-opcua-address-space-for-conformance-testing");
    await build_address_space_for_conformance_testing(server.engine.addressSpace, { mass_variables: false });
  }
  if (options.analog) {
    namespace.addAnalogDataItem({
      componentOf: folder, browseName: "Analog", nodeId: "s=Analog", dataType: "Double",
      engineeringUnitsRange: { low: 0, high: 200 }, minimumSamplingInterval: 0,
      value: new ua.Variant({ dataType: "Double", value: 0 }),
    });
  }
  if (options.alarm) addAlarm(space, namespace, folder);
  if (options.retype) addRetyped(space, namespace, folder);
  const held = fs.openSync(path.join(options.folder, "held.jsonl"), "a");
  const variables = Object.entries(kinds).map(([name, [type, value, write]]) => {
    const node = namespace.addVariable({
      componentOf: folder, browseName: name, nodeId: `s=${name}`, dataType: type, minimumSamplingInterval: 0,
    });
    return { name, node, type: ua.DataType[type], value, write };
  });
  const add = (i) => {
    const node = namespace.addVariable({
      componentOf: folder, browseName: `D${i}`, nodeId: `s=D${i}`, dataType: "Double", minimumSamplingInterval: 0,
    });
    variables.push({ name: `D${i}`, node, type: ua.DataType.Double, value: (n) => n + i, write: null });
  };
  for (let i = 0; i < options.items; i++) add(i);
  // the node D0 goes and comes back
  process.on("SIGUSR2", () => {
    const place = variables.findIndex(({ name }) => name === "D0");
    if (place < 0) return add(0);
    namespace.deleteNode(variables.splice(place, 1)[0].node);
  });
  const remembered = path.join(options.folder, "history.jsonl");
  if (options.history) historise(space, variables, remembered);
  const fill = options.structures ? addStructures(space, namespace, folder, options.history) : () => {};
  let change = options.continueFrom || 0;
  let due = Math.floor(Date.now() / options.period) + 1;
  const step = () => {
    change = options.aligned ? due % 30000 : change + 1;
    const now = options.aligned ? new Date(due++ * options.period) : new Date();
    let lines = "", rows = "";
    for (const [place, { name, node, type, value, write }] of variables.entries()) {
      const status = write ? statuses[(change + place) % statuses.length] : good;
      const raw = value(change);
      if (options.history) {
        rows += JSON.stringify({ name, value: String(raw), ms: now.getTime() }) + "\n";
      }
      node.setValueFromSource(
        { dataType: type, arrayType: ua.VariantArrayType.Scalar, value: typeof raw === "bigint" ? int64(raw) : raw },
        status, now);
      if (write) {
        lines += JSON.stringify({ name, value: write(raw), status: status.value, source_ms: now.getTime() }) + "\n";
      }
    }
    fill(change, now);
    fs.writeSync(held, lines);
    if (rows) fs.appendFileSync(remembered, rows);
  };
  if (!options.aligned) step();
  await server.start();
  // Ticks that come late catch up, so that no change of the clock is left out; one change a tick,
  // because of changes close upon each other node-opcua does not tell a subscriber each.
  const tick = options.aligned
    ? () => { if (due * options.period <= Date.now()) step(); }
    : step;
  setInterval(tick, options.aligned ? Math.max(5, options.period / 4) : options.period);
  console.log(JSON.stringify({ endpoint: `opc.tcp://127.0.0.1:${server.endpoints[0].port}/UA/Plant` }));
  process.on("SIGTERM", async () => { await server.shutdown(100); process.exit(0); });
}

// Each variable keeps what it held, and begins with what the file of an earlier process says.
function historise(space, variables, file) {
  const earlier = fs.existsSync(file)
    ? fs.readFileSync(file, "utf8").trim().split("\n").filter(Boolean).map((line) => JSON.parse(line))
    : [];
  for (const { name, node, type } of variables) {
    if (type !== ua.DataType.Double) continue;
    space.installHistoricalDataNode(node, { maxOnlineValues: 100000 });
    for (const row of earlier.filter((row) => row.name === name)) {
      node._historyPush(new ua.DataValue({
        value: { dataType: type, value: Number(row.value) }, statusCode: good,
        sourceTimestamp: new Date(row.ms), serverTimestamp: new Date(row.ms),
      }));
    }
  }
}

// Level, Count and the sensors tell the number of the change; Note is there in every second one, and
// Reading holds a number or words in turn.
function addStructures(space, namespace, folder, history) {
  const types = space.getNamespaceIndex("urn:plantgate:tank");
  const [sensor, tank] = [3001, 3003].map((number) => space.findNode(`ns=${types};i=${number}`));
  const one = (name, value) => ({ name, value, delay: 250 });
  const value = (n) => space.constructExtensionObject(tank, {
    level: n / 7, state: n % 3, note: n % 2 ? `备注 ${n}` : undefined, main: one("main", n / 4),
    sensors: [one("a", n), one("b", n + 0.5)].slice(0, 1 + (n % 2)),
    reading: n % 2 ? { number: n } : { words: `n${n}` },
    count: int64(18446744073709551615n - BigInt(n)), samples: new Int16Array([-1, -2, n]),
  });
  const add = (name, dataType, valueRank) => namespace.addVariable({
    componentOf: folder, browseName: name, nodeId: `s=${name}`, dataType, valueRank, minimumSamplingInterval: 0,
  });
  const single = add("Tank", tank.nodeId, -1), many = add("Tanks", tank.nodeId, 1), loose = add("Loose", "Structure", -1);
  if (history) space.installHistoricalDataNode(single, { maxOnlineValues: 1000 });
  return (n, now) => {
    const type = ua.DataType.ExtensionObject;
    single.setValueFromSource({ dataType: type, value: value(n) }, good, now);
    many.setValueFromSource(
      { dataType: type, arrayType: ua.VariantArrayType.Array, value: [value(n), value(n + 1000)] }, good, now);
    loose.setValueFromSource({ dataType: type, value: space.constructExtensionObject(sensor, one("loose", n)) }, good, now);
  };
}

// Changing holds one after another of what `retyped` lists, under the data type and rank of each.
const retyped = [
  ["Int32", 5], ["Double", 5.5], ["Double", new Float64Array([1.5, 2.5, 3.5])], ["String", "abc"],
  ["Int64", int64(-9007199254740993n)], ["Double", new Float64Array([9.5])], ["Boolean", true],
  ["String", ["x", "yes", "z"]], ["ByteString", Buffer.from("abc")], ["Int32", 6],
];
function become(node, dataType) {
  node.dataType = ua.resolveNodeId(dataType);
  node._basicDataType = null; // which node-opcua keeps
}
function addRetyped(space, namespace, folder) {
  const node = namespace.addVariable({
    componentOf: folder, browseName: "Changing", nodeId: "s=Changing", dataType: "Int32", minimumSamplingInterval: 0,
  });
  let place = 0;
  const set = () => {
    const [dataType, value] = retyped[place++ % retyped.length];
    const array = dataType !== "Int64" && !Buffer.isBuffer(value) && typeof value === "object";
    become(node, dataType);
    node.valueRank = array ? 1 : -1;
    node.arrayDimensions = array ? [value.length] : null;
    const arrayType = array ? ua.VariantArrayType.Array : ua.VariantArrayType.Scalar;
    node.setValueFromSource({ dataType: ua.DataType[dataType], arrayType, value }, good, new Date());
  };
  set();
  process.on("SIGHUP", set);
  if (!options.structures) return;
  const types = space.getNamespaceIndex("urn:plantgate:tank");
  const [sensor, tank] = [3001, 3003].map((number) => space.findNode(`ns=${types};i=${number}`));
  const one = (name, value) => ({ name, value, delay: 250 });
  const shapes = [
    { type: "ExtensionObject", value: () => space.constructExtensionObject(sensor, one("first", 1.5)) },
    { type: "ExtensionObject", value: () => space.constructExtensionObject(tank, {
      level: 2.5, state: 1, main: one("main", 0.5), sensors: [], reading: { number: 1 }, count: int64(3n), samples: new Int16Array([]),
    }) },
    { type: "Double", value: () => 3.5 },
    { type: "ExtensionObject", value: () => space.constructExtensionObject(sensor, one("last", 4.5)) },
  ];
  const shape = namespace.addVariable({
    componentOf: folder, browseName: "Shape", nodeId: "s=Shape", dataType: "Structure", minimumSamplingInterval: 0,
  });
  let at = 0;
  const turn = () => {
    const { type, value } = shapes[at++ % shapes.length];
    become(shape, type === "Double" ? type : "Structure");
    shape.setValueFromSource({ dataType: ua.DataType[type], value: value() }, good, new Date());
  };
  turn();
  process.on("SIGHUP", turn);
}

function addAlarm(space, namespace, folder) {
  space.installAlarmsAndConditionsService();
  const source = namespace.addObject({
    organizedBy: folder, browseName: "Tank1", eventNotifier: 1,
    eventSourceOf: space.rootFolder.objects.server,
  });
  const level = namespace.addVariable({
    componentOf: source, browseName: "Level", nodeId: "s=Level", dataType: "Double", minimumSamplingInterval: 0,
  });
  const set = (value) => level.setValueFromSource({ dataType: "Double", value });
  set(50);
  const alarm = namespace.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
    browseName: "LevelAlarm", conditionName: "LevelAlarm", conditionSource: source, inputNode: level, componentOf: source,
    highHighLimit: 90, highLimit: 70, lowLimit: 10, lowLowLimit: 5,
  });
  const steps = [80, 95, 50];
  let place = 0;
  process.on("SIGHUP", () => set(steps[place++ % steps.length]));
  process.on("SIGUSR2", () => {
    for (const branch of alarm.getBranches()) alarm.acknowledgeAndAutoConfirmBranch(branch, "seen");
  });
}

main().catch((error) => { console.error(error); process.exit(1); });
