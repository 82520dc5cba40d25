# Judges what the kernel saw a labelled process do.
#
# `input` is a JudgeInput of the crate defenseclaw-policy: the activity with its attribution, the facts of the call that
# it is attributed to, and what the same call did before. The answer is `findings`.
#
# Each rule begins with the kind of action and how it is explained: most rules end there for most activities.
#
# An activity is `declared` (named in the call, or the harness's own housekeeping: no finding), `derived` (a consequence of
# the call: a finding where it goes beyond what such a call is for), or `unexplained` (a finding by itself). That a process
# outlives its call is no finding.
package defenseclaw.effect

import data.defenseclaw.facts

action := input.activity.action

explained := input.activity.attribution.explained

program := facts.basename(input.activity.program)

# Who did it, for a person.
actor := input.activity.program

# --- What the call declares --------------------------------------------------------------------------------------------

# A call whose facts are not known declares nothing.
default declared := {"programs": [], "reads": [], "writes": [], "hosts": [], "pipes": [], "privilege": [], "opaque": []}

declared := input.declared if is_object(input.declared)

declared_program(list) if {
	some known in declared.programs
	list[known.name]
}

# A tool that logs in with `path` does the reading, or was called by name.
expected_reader(path) if facts.owns(program, path)

expected_reader(path) if {
	some known in declared.programs
	facts.owns(known.name, path)
}

# --- Where it connects ---------------------------------------------------------------------------------------------------

loopback if {
	some start in ["127.", "::1", "::ffff:127."]
	startswith(action.address, start)
}

# Name resolution goes before every connection by name.
name_lookup if {
	action.port == 53
}

name_lookup if {
	action.protocol == "udp"
	action.port in {0, 5353, 5355}
}

local_lookup if {
	name_lookup
	loopback
}

destination := sprintf("[%s]:%d", [action.address, action.port]) if contains(action.address, ":")

destination := sprintf("%s:%d", [action.address, action.port]) if not contains(action.address, ":")

declared_destination if {
	some host in declared.hosts
	host.host == action.address
}

declared_destination if {
	loopback
	some host in declared.hosts
	host.host in {"localhost", "ip6-localhost", "0.0.0.0"}
}

is_address(host) if contains(host, ":")

is_address(host) if {
	parts := split(host, ".")
	count(parts) == 4
	every part in parts {
		to_number(part) >= 0
	}
}

# A name stands for addresses that only the resolver knows.
declares_name if {
	some host in declared.hosts
	not is_address(host.host)
}

declares_host if count(declared.hosts) > 0

expected_connection if data.lists.connecting[program]

expected_connection if declared_program(data.lists.connecting)

# --- Unexplained -------------------------------------------------------------------------------------------------------

# Where programs are installed by an administrator.
installed(path) if {
	some start in ["/usr/", "/bin/", "/sbin/", "/lib/", "/opt/", "/nix/", "/snap/"]
	startswith(path, start)
}

findings contains {
	"rule": "effect.unexplained-exec",
	"category": "attribution",
	"severity": severity,
	"message": sprintf("%s ran, and no tool call explains it", [action.path]),
	"evidence": [action.path],
	"confidence": 80,
} if {
	action.action == "exec"
	explained == "unexplained"
	severity := {true: "LOW", false: "MEDIUM"}[installed_program]
}

default installed_program := false

installed_program if installed(action.path)

findings contains {
	"rule": "effect.unexplained-write",
	"category": "attribution",
	"severity": severity,
	"message": sprintf("%s wrote %s, and no tool call explains it", [actor, action.path]),
	"evidence": [action.path],
	"confidence": 80,
} if {
	action.action == "open"
	explained == "unexplained"
	action.access in written
	severity := {true: "HIGH", false: "MEDIUM"}[guarded_path]
}

default guarded_path := false

guarded_path if data.classes[action.class].guarded

findings contains {
	"rule": "effect.unexplained-credential-read",
	"category": "attribution",
	"severity": "HIGH",
	"message": sprintf("%s read %s, %s, and no tool call explains it", [actor, action.path, data.classes[action.class].description]),
	"evidence": [action.path],
	"confidence": 85,
} if {
	action.action == "open"
	explained == "unexplained"
	action.access == "read"
	data.classes[action.class].secret
}

findings contains {
	"rule": "effect.unexplained-connect",
	"category": "attribution",
	"severity": severity,
	"message": sprintf("%s connected to %s, and no tool call explains it", [actor, destination]),
	"evidence": [destination],
	"confidence": 80,
} if {
	action.action == "connect"
	explained == "unexplained"
	not local_lookup
	severity := {true: "MEDIUM", false: "HIGH"}[stays_here]
}

default stays_here := false

stays_here if loopback

# --- Beyond what the call declared ---------------------------------------------------------------------------------------

written := {"write", "create"}

findings contains {
	"rule": "effect.undeclared-credential-read",
	"category": "secret",
	"severity": "HIGH",
	"message": sprintf("%s read %s, %s, which its tool call did not name", [actor, action.path, data.classes[action.class].description]),
	"evidence": [action.path],
	"confidence": 90,
} if {
	action.action == "open"
	explained == "derived"
	action.access == "read"
	data.classes[action.class].secret
	not facts.named(declared.reads, action.path)
	not expected_reader(action.path)
}

# Secrets in this call's hands that its own tools do not need for logging in.
held := [path |
	some path in input.call_effects.credential_reads
	not expected_reader(path)
]

sends_secret if {
	action.action == "connect"
	explained != "declared"
	count(held) > 0
	not declared_destination
	not local_lookup
}

# Once a secret was read, any destination counts, loopback too: what listens there can send it on.
findings contains {
	"rule": "effect.exfiltration-shape",
	"category": "exfiltration",
	"severity": "CRITICAL",
	"message": sprintf("%s connected to %s after the same tool call had read %s", [actor, destination, held[0]]),
	"evidence": array.concat([destination], held),
	"confidence": 90,
} if {
	action.action == "connect"
	sends_secret
	not declares_name
}

# The destination may be the one that the call names.
findings contains {
	"rule": "effect.exfiltration-shape",
	"category": "exfiltration",
	"severity": "HIGH",
	"message": sprintf("%s connected to %s, perhaps a host that its tool call names, after the same call had read %s", [actor, destination, held[0]]),
	"evidence": array.concat([destination], held),
	"confidence": 60,
} if {
	action.action == "connect"
	sends_secret
	declares_name
}

undeclared_connection if {
	action.action == "connect"
	explained == "derived"
	not sends_secret
	not declared_destination
	not declares_name
	not expected_connection
	not name_lookup
}

findings contains {
	"rule": "effect.undeclared-connect",
	"category": "network",
	"severity": severity,
	"message": sprintf("%s connected to %s, which its tool call did not name", [actor, destination]),
	"evidence": [destination],
	"confidence": 60,
} if {
	action.action == "connect"
	undeclared_connection
	severity := {true: "LOW", false: "MEDIUM"}[expected_or_here]
}

default expected_or_here := false

expected_or_here if loopback

expected_or_here if declares_host

# --- Sensitive writes ------------------------------------------------------------------------------------------------------

sensitive_write_severity := {
	"defenseclaw": "CRITICAL",
	"harness-managed": "CRITICAL",
	"privilege-config": "HIGH",
	"system-auth": "HIGH",
	"ssh-access": "HIGH",
	"harness-settings": "HIGH",
	"shell-startup": "HIGH",
	"persistence": "HIGH",
	"git-hooks": "MEDIUM",
	"private-key": "MEDIUM",
	"credential": "MEDIUM",
	"browser-store": "MEDIUM",
	"password-manager": "MEDIUM",
	"block-device": "CRITICAL",
}

# Package managers and account tools write what they are for, wherever their own call was approved.
expected_writer if {
	data.lists.system_writers[program]
	not action.class in {"defenseclaw", "harness-managed", "ssh-access", "harness-settings"}
}

expected_writer if expected_reader(action.path)

findings contains {
	"rule": "effect.undeclared-sensitive-write",
	"category": "sensitive-path",
	"severity": sensitive_write_severity[action.class],
	"message": sprintf("%s wrote %s, %s, which its tool call did not name", [actor, action.path, data.classes[action.class].description]),
	"evidence": [action.path],
	"confidence": 85,
} if {
	action.action == "open"
	explained == "derived"
	action.access in written
	sensitive_write_severity[action.class]
	not facts.named(declared.writes, action.path)
	not expected_writer
}

# --- What hides from the sensor ----------------------------------------------------------------------------------------------

findings contains {
	"rule": "effect.io-uring",
	"category": "visibility",
	"severity": "MEDIUM",
	"message": sprintf("%s set up an io_uring, through which it can open files unseen by the system-call sensor", [actor]),
	"evidence": [actor],
	"confidence": 70,
} if {
	action.action == "io_uring"
	input.activity.attribution.basis != "contract"
}

findings contains {
	"rule": "effect.undeclared-privilege",
	"category": "privilege",
	"severity": "MEDIUM",
	"message": sprintf("%s ran, which its tool call did not name", [action.path]),
	"evidence": [action.path],
	"confidence": 75,
} if {
	action.action == "exec"
	explained == "derived"
	facts.basename(action.path) in {"sudo", "su", "doas", "pkexec", "runuser"}
	count(declared.privilege) == 0
}
