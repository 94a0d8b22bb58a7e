"""[notify] and [[notifier]]: what is refused, and that nothing goes over a control bus."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.diff import Fingerprint, compare
from gateway.config.load import load
from gateway.config.notify import MqttNotifier, WebhookNotifier
from gateway.config.problems import ConfigError

HEAD = """
[gateway]
id = "GW-1"
enterprise = "91370800MA3C000000"
data_dir = "data"
[[device]]
name = "gds"
driver = "modbus"
host = "10.0.0.7"
port = 1502
backup = "10.0.0.8:1502"
unit = 1
points = "gds.csv"
[[device]]
name = "line"
driver = "modbus"
transport = "rtu"
serial = "/dev/ttyS77"
unit = 1
points = "gds.csv"
[[device]]
name = "dcs"
driver = "opcua"
endpoint = "opc.tcp://127.0.0.1:4840/UA/Plant"
security = "None"
insecure = true
points = "dcs.csv"
"""
NOTIFY = '[notify]\nroster = "roster.csv"\n'
SMS = '[[notifier]]\nname = "sms"\ntype = "webhook"\nurl = "https://sms.example.com/x"\n'


def site(folder: Path, text: str, roster: str = "step,person,notifier\n1,a,sms\n") -> Path:
    table = "name,area,address,type\nA,holding,0,u16\n"
    (folder / "gds.csv").write_text(table, encoding="utf-8")
    (folder / "dcs.csv").write_text("name,node\nB,nsu=urn:x;s=B\n", encoding="utf-8")
    (folder / "roster.csv").write_text(roster, encoding="utf-8")
    path = folder / "site.toml"
    path.write_text(HEAD + text, encoding="utf-8")
    return path


def problems(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        load(path)
    return "\n".join(map(str, error.value.problems))


def test_everything_is_read(tmp_path: Path) -> None:
    more = (
        '[[notifier]]\nname = "phones"\ntype = "mqtt"\nhost = "127.0.0.1"\ntopic = "x/{person}"\n'
        '[[notifier]]\nname = "horn"\ntype = "sound"\n'
    )
    notify = 'enterprise_name = "某化工"\nwait_s = [30, 60, 90, 120]\nrounds = 2\n'
    rows = "step,person,notifier\n1,a,sms;phones\n2,b,horn\n"
    parts = load(site(tmp_path, NOTIFY + notify + SMS + more, rows)).notify
    assert parts is not None
    assert [type(one).__name__ for one in parts.notifiers] == [
        "WebhookNotifier", "MqttNotifier", "SoundNotifier",
    ]  # fmt: skip
    assert parts.config.policy().wait_ns[0] == 30 * 10**9
    assert len(parts.roster.shifts) == 2


@pytest.mark.parametrize(
    ("notifier", "said"),
    [
        ('type = "webhook"\nurl = "https://10.0.0.7:1502/x"', "10.0.0.7:1502 is the address of"
         " device gds: nothing is ever sent over a control bus"),
        ('type = "webhook"\nurl = "https://10.0.0.8:1502/x"', "device gds"),
        ('type = "mqtt"\nhost = "localhost"\nport = 4840\ntopic = "x"', "device dcs"),
        ('type = "sound"\ncommand = ["siren", "/dev/ttyS77"]', "/dev/ttyS77 is the address of"
         " device line"),
        ('type = "webhook"\nurl = "http://10.1.1.1/x"', "in clear text"),
        ('type = "webhook"\nurl = "https://a:b@10.1.1.1/x"', "name or password"),
        ('type = "webhook"\nurl = "ftp://10.1.1.1/x"', "must be https://HOST/PATH"),
        ('type = "webhook"', "needs url, or url_file"),
        ('type = "webhook"\nurl = "https://h/x"\nhmac_file = "no"', "there is no file"),
        ('type = "mqtt"\nhost = "10.1.1.1"\ntopic = "x"', "in clear text"),
        ('type = "mqtt"\nhost = "127.0.0.1"\ntopic = "x/#"', "topic without"),
        ('type = "mqtt"\nhost = "127.0.0.1"\ntopic = "x"\ncertificate = "c"', "belong together"),
        ('type = "mqtt"\nhost = "127.0.0.1"\ntopic = "x"\ncertificate = "c"\nkey = "k"',
         "certificate needs TLS"),
        ('type = "mqtt"\nhost = "127.0.0.1"\ntopic = "x"\npassword_file = "p"', "needs user"),
        ('type = "pigeon"', "no notifier is of type 'pigeon'"),
        ('type = "webhook"\nurl = "https://h/x"\ncolour = 1', "colour"),
    ],
)  # fmt: skip
def test_a_notifier_that_is_wrong_is_refused(tmp_path: Path, notifier: str, said: str) -> None:
    text = f'{NOTIFY}{SMS}[[notifier]]\nname = "x"\n{notifier}\n'
    assert said in problems(site(tmp_path, text))


def test_mistakes_of_the_roster_name_row_and_column(tmp_path: Path) -> None:
    found = problems(site(tmp_path, NOTIFY + SMS, "step,person,notifier\n1,a,sms\n0,,fax\n"))
    assert "roster.csv" in found
    assert "第3行: must be 1 to 9, not '0' 应为 1 至 9" in found
    assert "no [[notifier]] is called 'fax'" in found
    assert "3" in found.splitlines()[0]


def test_notify_and_notifier_need_each_other_and_files_must_be_there(tmp_path: Path) -> None:
    assert "[notify] is missing" in problems(site(tmp_path, SMS))
    path = site(tmp_path, NOTIFY + SMS)
    (tmp_path / "roster.csv").unlink()
    assert "roster.csv cannot be read" in problems(path)
    (tmp_path / "words.toml").write_text("[zh]\nalarm = '{nothing}'\n", encoding="utf-8")
    text = NOTIFY + 'templates = "words.toml"\n' + SMS
    assert "there is no field '{nothing}'" in problems(site(tmp_path, text))


def test_an_hour_without_anybody_and_a_notifier_without_a_row_are_warned_of(tmp_path: Path) -> None:
    horn = '[[notifier]]\nname = "horn"\ntype = "sound"\n'
    rows = "step,person,notifier,from,to\n1,a,sms,08:00,20:00\n"
    found = load(site(tmp_path, NOTIFY + SMS + horn, rows))
    said = "\n".join(map(str, found.warnings))
    assert "nobody is on duty for alarms of no position" in said
    assert "no row names the notifier 'horn'" in said


def test_another_roster_needs_no_restart_and_another_notifier_does(tmp_path: Path) -> None:
    first = Fingerprint.of(load(site(tmp_path, NOTIFY + SMS)))
    rows = "step,person,notifier\n1,b,sms\n"
    second = Fingerprint.of(load(site(tmp_path, NOTIFY + SMS, rows)))
    assert compare(first, second).restart == ()
    third = Fingerprint.of(load(site(tmp_path, NOTIFY + SMS.replace("/x", "/y"))))
    assert compare(first, third).restart == ("notify",)


def test_a_site_without_it_imports_nothing_of_it(tmp_path: Path) -> None:
    path = site(tmp_path, "")
    code = (
        "import sys, pathlib; from gateway.config.load import load;"
        f"load(pathlib.Path({str(path)!r}));"
        "print([m for m in sys.modules if m.startswith('gateway.notify') or m == 'aiohttp'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_models_give_their_addresses() -> None:
    hook = WebhookNotifier(name="a", type="webhook", url="https://h.example/x")
    assert list(hook.addresses()) == [("h.example", 443)]
    phones = MqttNotifier(name="a", type="mqtt", host="127.0.0.1", topic="x")
    assert list(phones.addresses()) == [("127.0.0.1", 8883)]
