// A real OPC UA server (node-opcua) for the driver's tests. Prints one JSON line when it listens.
//
// node server.js '{"port":0,"folder":"/tmp/x","certificate":"s.der","key":"s.pem","period":100,
//                  "items":0,"user":"reader","password":"secret","perCall":100}'
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
    nodeset_filename: [ua.nodesets.standard],
    serverCapabilities: { operationLimits: { maxMonitoredItemsPerCall: options.perCall } },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const namespace = space.registerNamespace("urn:plantgate:peer");
  const folder = namespace.addObject({ organizedBy: space.rootFolder.objects, browseName: "Plant" });
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
  let change = 0;
  const step = () => {
    change += 1;
    const now = new Date();
    let lines = "";
    for (const [place, { name, node, type, value, write }] of variables.entries()) {
      const status = write ? statuses[(change + place) % statuses.length] : good;
      const raw = value(change);
      node.setValueFromSource(
        { dataType: type, arrayType: ua.VariantArrayType.Scalar, value: typeof raw === "bigint" ? int64(raw) : raw },
        status, now);
      if (write) {
        lines += JSON.stringify({ name, value: write(raw), status: status.value, source_ms: now.getTime() }) + "\n";
      }
    }
    fs.writeSync(held, lines);
  };
  step();
  await server.start();
  setInterval(step, options.period);
  console.log(JSON.stringify({ endpoint: `opc.tcp://127.0.0.1:${server.endpoints[0].port}/UA/Plant` }));
  process.on("SIGTERM", async () => { await server.shutdown(100); process.exit(0); });
}

main().catch((error) => { console.error(error); process.exit(1); });
