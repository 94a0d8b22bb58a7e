"""Says in Chinese, and with what to do, why something was not reached; by the words it was told in.

Drivers, cameras and uplinks tell a cause in one English sentence each. Pure.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple


class Cause(NamedTuple):
    """chinese: what it means.  advice, chinese_advice: what to do."""

    chinese: str
    advice: str
    chinese_advice: str


_WIRE = Cause(
    "端口通,但设备无应答",
    "the address is reached and nothing answers: compare unit id, baud rate, parity and protocol"
    " with the device's own settings, then wiring (A/B) and power",
    "核对站号、波特率、校验位和协议与设备设置一致,再查 A/B 接线和电源",
)
_CAUSES: tuple[tuple[str, Cause], ...] = (
    (r"another program uses it|Device or resource busy", Cause(
        "串口被其他程序占用",
        "another program has the port, most likely the gateway itself: stop it"
        " (systemctl stop plantgate), or read its own view in the console",
        "该串口已被占用(多半是正在运行的网关):先停止网关,或在网关控制台查看",
    )),
    (r"serial port.*(Permission denied|not permitted)", Cause(
        "无权限打开串口",
        "let the user of the gateway open it: usermod -aG dialout USER, then log in anew",
        "把运行网关的用户加入 dialout 组后重新登录",
    )),
    (r"serial port cannot be opened: No such file", Cause(
        "没有这个串口",
        "plug the converter in, or name one of the ports that are there (ls /dev/serial/by-id)",
        "插好转换器,或改用现有串口(ls /dev/serial/by-id)",
    )),
    (r"is not a TTY|Inappropriate ioctl|serial port", Cause(
        "串口不可用",
        "look at the converter: ls -l /dev/serial/by-id, dmesg",
        "检查转换器:ls -l /dev/serial/by-id、dmesg",
    )),
    (r"refused (user and password|the user)|accepts no login of this kind", Cause(
        "登录被拒绝",
        "correct user and password_file before anything tries again: servers lock accounts out",
        "先改正用户名和密码文件再重试,以免账号被锁定",
    )),
    (r"does not trust our certificate", Cause(
        "服务器尚未信任本网关的证书",
        "in the server's administration move our certificate from rejected to trusted",
        "在服务器管理界面把本网关证书从 rejected 移到 trusted",
    )),
    (r"Connection refused|nobody listens", Cause(
        "主机在,但该端口没有服务",
        "the machine is there and nothing listens at that port: compare the port, start the"
        " service, look at the firewall",
        "核对端口,启动对方服务,检查防火墙",
    )),
    (r"No route to host|Network is unreachable|unreachable", Cause(
        "网络不可达",
        "look at cable, switch and VLAN, at `ip route`, and at the address itself",
        "检查网线、交换机、VLAN、路由(ip route)和地址",
    )),
    (r"Name or service not known|Temporary failure in name|no address associated"
     r"|name resolution", Cause(
        "主机名无法解析",
        "write the IP address, or put the name into /etc/hosts",
        "改用 IP 地址,或写入 /etc/hosts",
    )),
    (r"no (TCP|TLS|UDP) connection within|timed out|no answer within \S+ s$", Cause(
        "连接超时",
        "nothing answers at that address: compare it with the plan of the network, then cable,"
        " power, firewall",
        "该地址无响应:核对网络规划,检查网线、电源和防火墙",
    )),
    (r"certificate|thumbprint|SHA-256|TLS|peer name", Cause(
        "证书或 TLS 不被接受",
        "compare ca, certificate, key, names and dates with the other side's; `plantgate cert`"
        " makes new ones",
        "核对双方的 CA、证书、密钥、名称和有效期",
    )),
    (r"frames that are wrong|check ?sum|makes no sense|no frame", Cause(
        "收到的数据不是约定的协议",
        "something answers in another language: compare protocol, transport (rtu-tcp or tcp),"
        " baud rate and parity",
        "核对协议、传输方式(rtu-tcp 还是 tcp)、波特率和校验位",
    )),
    (r"nothing was heard", Cause(
        "等待期内没有收到任何数据",
        "look whether the device or the DTU sends at all, whether it dials this machine's address"
        " and port, and whether the firewall lets it in",
        "检查设备或 DTU 是否在发送、是否拨入本机地址和端口、防火墙是否放行",
    )),
    (r"no answer|silent|answer of any device", _WIRE),
    (r"closed the connection|Connection reset", Cause(
        "对方主动断开连接",
        "the device hangs up: many take one client only, so end the other one (an old gateway, a"
        " test program)",
        "很多设备只接受一个客户端:先断开其他客户端(旧网关、测试软件)",
    )),
)  # fmt: skip
_UNKNOWN = Cause("", "the sentence says what happened; start there", "按上述原因排查")


def why_not(error: OSError) -> str:
    """Reason of a connection that was not had; asyncio puts the address where the reason was."""
    number = error.errno or 0  # negative for names that are not known
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def cause_of(sentence: str) -> Cause:
    """Tell what a sentence of ours means; `chinese` is empty where that is not known."""
    said = sentence.partition("; check ")[0]  # a driver's own advice names what may be well
    for pattern, cause in _CAUSES:
        if re.search(pattern, said):
            return cause
    return _UNKNOWN


__all__ = ["Cause", "cause_of", "why_not"]
