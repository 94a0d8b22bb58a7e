// A Modbus TCP server of npm modbus-serial with several unit ids; any other id gets no answer.
// node server.js PORT UNIT...   Register n of unit u holds (u * 1000 + n) mod 65536. Prints "ready".
"use strict";
const { ServerTCP } = require("modbus-serial");

const port = Number(process.argv[2]);
const units = new Set(process.argv.slice(3).map(Number));

// Calling back is answering: for an unknown unit nobody ever does.
const answer = (value) => (address, unit, callback) => {
    if (units.has(unit)) callback(null, value(address, unit));
};
const register = (address, unit) => (unit * 1000 + address) % 65536;
const bit = (address, unit) => (address + unit) % 3 === 0;

const vector = {
    getHoldingRegister: answer(register),
    getInputRegister: answer((address, unit) => register(address + 500, unit)),
    getCoil: answer(bit),
    getDiscreteInput: answer((address, unit) => !bit(address, unit)),
};
const server = new ServerTCP(vector, { host: "127.0.0.1", port, unitID: 255 }); // 255: all ids
server.on("initialized", () => console.log("ready"));
server.on("socketError", () => {});
process.on("SIGTERM", () => process.exit(0));
