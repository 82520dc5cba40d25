package defenseclaw.effect_test

import data.defenseclaw.effect

no_facts := {"programs": [], "reads": [], "writes": [], "hosts": [], "pipes": [], "privilege": [], "opaque": []}

no_effects := {"credential_reads": [], "connects": [], "writes": 0, "execs": 0}

activity(program, explained, action) := {
	"time_ns": 1,
	"session": "claude-code/s",
	"process": {"tgid": 7, "start": 1},
	"program": program,
	"action": action,
	"attribution": {"call": "c", "basis": "lineage", "explained": explained},
}

judged(program, explained, action, facts, effects) := {
	"activity": activity(program, explained, action),
	"declared": object.union(no_facts, facts),
	"tool": "Bash",
	"call_effects": object.union(no_effects, effects),
}

unattributed(program, action) := {
	"activity": object.union(activity(program, "unexplained", action), {"attribution": {"call": null, "basis": "none"}}),
	"declared": null,
	"tool": null,
	"call_effects": no_effects,
}

open(path, access, class) := {"action": "open", "path": path, "access": access, "class": class}

plain_open(path, access) := {"action": "open", "path": path, "access": access}

connect(address, port) := {"action": "connect", "protocol": "tcp", "address": address, "port": port}

exec(path) := {"action": "exec", "path": path, "argv": [path]}

names(list) := {"programs": [{"name": name, "argv": [name]} | some name in list]}

hosts(list) := {"hosts": [{"host": host} | some host in list]}

# Rule and severity of each finding.
found(findings) := {[finding.rule, finding.severity] | some finding in findings}

aws := open("/home/u/.aws/credentials", "read", "credential")

script := names(["build.sh"])

# --- Unexplained ----------------------------------------------------------------------------------------------------

test_unexplained_exec_of_an_installed_program_is_low if {
	findings := effect.findings with input as unattributed("/usr/bin/ls", exec("/usr/bin/ls"))
	found(findings) == {["effect.unexplained-exec", "LOW"]}
}

test_unexplained_exec_from_elsewhere_is_medium if {
	findings := effect.findings with input as unattributed("/tmp/x", exec("/tmp/x"))
	found(findings) == {["effect.unexplained-exec", "MEDIUM"]}
}

test_unexplained_write_is_medium_and_guarded_high if {
	plain := effect.findings with input as unattributed("/usr/bin/cp", plain_open("/w/a", "create"))
	found(plain) == {["effect.unexplained-write", "MEDIUM"]}
	guarded := effect.findings with input as unattributed("/usr/bin/cp", open("/home/u/.bashrc", "write", "shell-startup"))
	found(guarded) == {["effect.unexplained-write", "HIGH"]}
}

test_unexplained_credential_read_is_high if {
	findings := effect.findings with input as unattributed("/usr/bin/cat", aws)
	found(findings) == {["effect.unexplained-credential-read", "HIGH"]}
}

test_unexplained_connect_is_high_and_on_this_host_medium if {
	out := effect.findings with input as unattributed("/usr/bin/curl", connect("203.0.113.9", 443))
	found(out) == {["effect.unexplained-connect", "HIGH"]}
	here := effect.findings with input as unattributed("/usr/bin/curl", connect("127.0.0.1", 8080))
	found(here) == {["effect.unexplained-connect", "MEDIUM"]}
	lookup := effect.findings with input as unattributed("/usr/bin/curl", connect("127.0.0.53", 53))
	found(lookup) == set()
}

test_unexplained_exit_is_no_finding if {
	findings := effect.findings with input as unattributed("/usr/bin/ls", {"action": "exit", "status": {"code": 0}, "duration_ns": 1})
	findings == set()
}

test_explained_activity_is_no_finding if {
	every action in [exec("/usr/bin/ls"), plain_open("/w/a", "create"), connect("203.0.113.9", 443), aws] {
		findings := effect.findings with input as judged("/usr/bin/x", "declared", action, {}, {})
		findings == set()
	}
}

test_derived_exec_and_project_write_are_no_finding if {
	every action in [exec("/usr/bin/gcc"), plain_open("/w/a.o", "create")] {
		findings := effect.findings with input as judged("/usr/bin/make", "derived", action, names(["make"]), {})
		findings == set()
	}
}

test_outliving_its_call_is_no_finding if {
	base := judged("/usr/bin/node", "derived", plain_open("/w/log", "write"), names(["npm"]), {})
	late := object.union(base, {"activity": {"attribution": {"after_call": true}}})
	findings := effect.findings with input as late
	findings == set()
}

# --- Credential reads ------------------------------------------------------------------------------------------------

test_undeclared_credential_read_is_high if {
	findings := effect.findings with input as judged("/usr/bin/cat", "derived", aws, script, {})
	found(findings) == {["effect.undeclared-credential-read", "HIGH"]}
}

test_a_read_of_a_call_that_is_not_known_counts_as_undeclared if {
	base := judged("/usr/bin/cat", "derived", aws, {}, {})
	findings := effect.findings with input as object.union(base, {"declared": null})
	found(findings) == {["effect.undeclared-credential-read", "HIGH"]}
}

test_declared_credential_read_is_no_finding if {
	every named in ["/home/u/.aws/credentials", "/home/u/.aws", "/home/u/.aws/*"] {
		findings := effect.findings with input as judged("/usr/bin/tar", "derived", aws, {"reads": [{"path": named}]}, {})
		findings == set()
	}
}

test_a_tool_may_read_its_own_login if {
	by_name := effect.findings with input as judged("/usr/bin/python3.11", "derived", aws, names(["aws"]), {})
	by_name == set()
	key := open("/home/u/.ssh/id_ed25519", "read", "private-key")
	by_program := effect.findings with input as judged("/usr/bin/ssh", "derived", key, names(["deploy.sh"]), {})
	by_program == set()
}

test_a_tool_may_not_read_another_login if {
	findings := effect.findings with input as judged("/usr/bin/node", "derived", aws, names(["npm"]), {})
	found(findings) == {["effect.undeclared-credential-read", "HIGH"]}
}

test_a_credential_folder_or_environment_file_is_no_credential_read if {
	every action in [open("/home/u/.ssh", "read", "credential-folder"), open("/w/.env", "read", "env-file")] {
		findings := effect.findings with input as judged("/usr/bin/node", "derived", action, names(["npm"]), {})
		findings == set()
	}
}

# --- Connections ----------------------------------------------------------------------------------------------------------

test_undeclared_connect_is_medium_and_on_this_host_low if {
	out := effect.findings with input as judged("/usr/bin/curl", "derived", connect("203.0.113.9", 443), script, {})
	found(out) == {["effect.undeclared-connect", "MEDIUM"]}
	here := effect.findings with input as judged("/usr/bin/curl", "derived", connect("127.0.0.1", 8080), script, {})
	found(here) == {["effect.undeclared-connect", "LOW"]}
	v6 := effect.findings with input as judged("/usr/bin/curl", "derived", connect("::1", 8080), script, {})
	found(v6) == {["effect.undeclared-connect", "LOW"]}
}

test_declared_destinations_are_no_finding if {
	address := effect.findings with input as judged("/usr/bin/curl", "derived", connect("203.0.113.9", 443), hosts(["203.0.113.9"]), {})
	address == set()
	name := effect.findings with input as judged("/usr/bin/curl", "derived", connect("203.0.113.9", 443), hosts(["api.example.com"]), {})
	name == set()
	localhost := effect.findings with input as judged("/usr/bin/curl", "derived", connect("127.0.0.1", 3000), hosts(["localhost"]), {})
	localhost == set()
}

test_another_address_than_the_declared_one_is_low if {
	findings := effect.findings with input as judged("/usr/bin/curl", "derived", connect("198.51.100.7", 443), hosts(["203.0.113.9"]), {})
	found(findings) == {["effect.undeclared-connect", "LOW"]}
}

test_package_managers_and_version_control_connect if {
	every name in ["npm", "cargo", "pip", "git", "docker", "make"] {
		findings := effect.findings with input as judged("/usr/bin/x", "derived", connect("203.0.113.9", 443), names([name]), {})
		findings == set()
	}
	inside := effect.findings with input as judged("/usr/bin/git", "derived", connect("203.0.113.9", 443), script, {})
	inside == set()
}

test_name_lookup_is_no_finding if {
	every port in [53, 5353] {
		action := {"action": "connect", "protocol": "udp", "address": "192.0.2.1", "port": port}
		findings := effect.findings with input as judged("/usr/bin/curl", "derived", action, script, {})
		findings == set()
	}
}

# --- Exfiltration ---------------------------------------------------------------------------------------------------------

held := {"credential_reads": ["/home/u/.aws/credentials"]}

test_connect_after_credential_read_is_critical_even_on_this_host if {
	every address in ["203.0.113.9", "127.0.0.1", "10.0.0.8"] {
		findings := effect.findings with input as judged("/usr/bin/curl", "derived", connect(address, 8080), script, held)
		found(findings) == {["effect.exfiltration-shape", "CRITICAL"]}
	}
}

test_package_managers_are_no_excuse_for_sending_secrets if {
	findings := effect.findings with input as judged("/usr/bin/node", "derived", connect("203.0.113.9", 443), names(["npm"]), held)
	found(findings) == {["effect.exfiltration-shape", "CRITICAL"]}
}

test_a_host_named_in_the_call_makes_it_less_sure if {
	findings := effect.findings with input as judged("/usr/bin/curl", "derived", connect("203.0.113.9", 443), hosts(["api.example.com"]), held)
	found(findings) == {["effect.exfiltration-shape", "HIGH"]}
}

test_logging_in_is_no_exfiltration if {
	ssh := {"credential_reads": ["/home/u/.ssh/id_ed25519"]}
	push := effect.findings with input as judged("/usr/bin/ssh", "derived", connect("203.0.113.9", 22), names(["git"]), ssh)
	push == set()
	cloud := effect.findings with input as judged("/usr/bin/python3.11", "derived", connect("203.0.113.9", 443), names(["aws"]), held)
	cloud == set()
}

test_connect_without_credential_read_is_no_exfiltration if {
	findings := effect.findings with input as judged("/usr/bin/curl", "derived", connect("203.0.113.9", 443), script, {})
	found(findings) == {["effect.undeclared-connect", "MEDIUM"]}
}

# --- Writes, privilege, visibility ------------------------------------------------------------------------------------------

test_undeclared_sensitive_write_has_the_severity_of_its_class if {
	every class, severity in effect.sensitive_write_severity {
		findings := effect.findings with input as judged("/usr/bin/python3", "derived", open("/x", "write", class), script, {})
		found(findings) == {["effect.undeclared-sensitive-write", severity]}
	}
}

test_every_guarded_class_counts_as_a_sensitive_write if {
	guarded := {class | some class, traits in data.classes; traits.guarded} - {"credential-folder"}
	every class in guarded {
		effect.sensitive_write_severity[class]
	}
}

test_declared_or_expected_sensitive_write_is_no_finding if {
	bashrc := open("/home/u/.bashrc", "write", "shell-startup")
	declared := effect.findings with input as judged("/usr/bin/tee", "derived", bashrc, {"writes": [{"path": "/home/u/.bashrc"}]}, {})
	declared == set()
	unit := open("/usr/lib/systemd/system/x.service", "create", "persistence")
	installed := effect.findings with input as judged("/usr/bin/dpkg", "derived", unit, names(["sudo", "apt-get"]), {})
	installed == set()
	login := effect.findings with input as judged("/usr/bin/node", "derived", open("/home/u/.npmrc", "write", "credential"), names(["npm"]), {})
	login == set()
	memory := effect.findings with input as judged("/usr/bin/git", "derived", open("/w/CLAUDE.md", "write", "agent-memory"), names(["git"]), {})
	memory == set()
}

test_package_managers_do_not_write_to_defenseclaw if {
	findings := effect.findings with input as judged("/usr/bin/dpkg", "derived", open("/etc/defenseclaw/x", "write", "defenseclaw"), names(["apt-get"]), {})
	found(findings) == {["effect.undeclared-sensitive-write", "CRITICAL"]}
}

test_io_uring_is_medium_but_not_the_harness_s_own if {
	ring := {"action": "io_uring", "entries": 8}
	findings := effect.findings with input as judged("/usr/bin/x", "derived", ring, script, {})
	found(findings) == {["effect.io-uring", "MEDIUM"]}
	base := judged("/usr/bin/claude", "declared", ring, {}, {})
	own := effect.findings with input as object.union(base, {"activity": {"attribution": {"basis": "contract"}}})
	own == set()
}

test_undeclared_privilege_is_medium_and_declared_is_free if {
	findings := effect.findings with input as judged("/usr/bin/bash", "derived", exec("/usr/bin/sudo"), script, {})
	found(findings) == {["effect.undeclared-privilege", "MEDIUM"]}
	declared := effect.findings with input as judged("/usr/bin/bash", "derived", exec("/usr/bin/sudo"), {"privilege": ["sudo"]}, {})
	declared == set()
}
