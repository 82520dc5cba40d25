# What guards this host and its agents: settings, hooks, logins, start-up, privilege, DefenseClaw itself.
package defenseclaw.decision

# What a write to a class of paths wants.
guard := {
	"defenseclaw": {"rule": "tamper.defenseclaw", "verdict": "deny", "severity": "CRITICAL"},
	"harness-managed": {"rule": "tamper.harness-managed", "verdict": "deny", "severity": "CRITICAL"},
	"privilege-config": {"rule": "persistence.privilege", "verdict": "deny", "severity": "HIGH"},
	"system-auth": {"rule": "persistence.privilege", "verdict": "deny", "severity": "HIGH"},
	"ssh-access": {"rule": "persistence.ssh-access", "verdict": "deny", "severity": "HIGH"},
	"harness-settings": {"rule": "tamper.harness-settings", "verdict": "ask", "severity": "HIGH"},
	"shell-startup": {"rule": "persistence.shell-startup", "verdict": "ask", "severity": "HIGH"},
	"persistence": {"rule": "persistence.autostart", "verdict": "ask", "severity": "HIGH"},
	"git-hooks": {"rule": "persistence.git-hooks", "verdict": "ask", "severity": "MEDIUM"},
	"credential": {"rule": "credential.write", "verdict": "ask", "severity": "MEDIUM"},
	"private-key": {"rule": "credential.write", "verdict": "ask", "severity": "MEDIUM"},
	"browser-store": {"rule": "credential.write", "verdict": "ask", "severity": "MEDIUM"},
	"password-manager": {"rule": "credential.write", "verdict": "ask", "severity": "MEDIUM"},
}

makes_keys if {
	some program in input.facts.programs
	program.name == "ssh-keygen"
}

# Making a new key is no change of an old one.
exempt(class) if {
	class == "private-key"
	makes_keys
}

guarded_writes[class] contains write.path if {
	some write in classed_writes
	class := write.class
	guard[class]
	not exempt(class)
}

guarded_objections contains {
	"rule": guard[class].rule,
	"category": "sensitive-path",
	"verdict": guard[class].verdict,
	"severity": guard[class].severity,
	"message": sprintf("%s would change %s, %s", [input.tool, listed[0], data.classes[class].description]),
	"remedy": "Tell the person what should change there and why",
	"evidence": listed,
	"confidence": 90,
} if {
	some class, paths in guarded_writes
	listed := [path | some path in paths]
}

# --- Start-up by command -------------------------------------------------------------------------------------------------

plants(program) if {
	program.name == "crontab"
	not "-l" in program.argv
}

plants(program) if program.name in {"at", "batch"}

plants(program) if {
	program.name == "systemctl"
	some word in program.argv
	word in {"enable", "link", "edit", "set-default", "add-wants"}
}

plants(program) if {
	program.name == "systemd-run"
	some word in program.argv
	startswith(word, "--on-")
}

guarded_objections contains {
	"rule": "persistence.autostart",
	"category": "persistence",
	"verdict": "ask",
	"severity": "MEDIUM",
	"message": sprintf("%s would arrange for something to run later without anyone asking", [program.name]),
	"remedy": "Run it once, now, or let the person arrange it",
	"evidence": [program.name],
	"confidence": 80,
} if {
	some program in suspects
	plants(program)
}

# `git` is no suspect, or no call would be without one.
objections contains {
	"rule": "persistence.git-hooks",
	"category": "persistence",
	"verdict": "ask",
	"severity": "MEDIUM",
	"message": "this would name another folder whose programs git runs by itself",
	"remedy": "Let the person set it",
	"evidence": ["core.hooksPath"],
	"confidence": 80,
} if {
	some program in input.facts.programs
	program.name == "git"
	"core.hooksPath" in program.argv
}

# --- Privilege --------------------------------------------------------------------------------------------------------

guarded_objections contains {
	"rule": "privilege.raise",
	"category": "privilege",
	"verdict": "ask",
	"severity": "MEDIUM",
	"message": sprintf("this would run with more rights than the agent has (%s)", [concat(", ", input.facts.privilege)]),
	"remedy": "Do it without, or let the person run it",
	"evidence": input.facts.privilege,
	"confidence": 80,
} if {
	count(input.facts.privilege) > 0
}

# --- DefenseClaw by command ------------------------------------------------------------------------------------------------

own_path(word) if {
	some start in ["/usr/bin/defenseclaw", "/usr/sbin/defenseclaw", "/usr/lib/defenseclaw", "/etc/defenseclaw", "/var/lib/defenseclaw", "/run/defenseclaw", "/sys/fs/bpf/defenseclaw"]
	startswith(word, start)
}

service_verbs := {"stop", "disable", "mask", "kill", "restart", "reload", "edit", "revert", "unlink", "isolate"}

names_service(program) if {
	some word in program.argv
	startswith(word, "defenseclaw")
}

tampers(program) if {
	program.name in {"systemctl", "service"}
	names_service(program)
	some word in program.argv
	word in service_verbs
}

tampers(program) if {
	program.name in {"kill", "pkill", "killall", "skill"}
	some word in program.argv
	contains(word, "defenseclaw")
}

tampers(program) if {
	program.name in {"apt", "apt-get", "dpkg", "dnf", "yum", "rpm", "snap"}
	names_service(program)
	some word in program.argv
	word in {"remove", "purge", "autoremove", "erase", "-r", "-P", "-e", "--remove", "--purge"}
}

tampers(program) if {
	program.name in {"chmod", "chown", "chattr", "setfacl", "mount", "umount", "setcap", "bpftool"}
	some word in program.argv
	own_path(word)
}

# Verbs of the operator, which no governed agent may use.
tampers(program) if {
	program.name in {"defenseclaw", "defenseclaw-cli"}
	program.argv[1] in {"setup", "teardown", "approvals"}
}

tampers(program) if {
	program.name in {"defenseclaw", "defenseclaw-cli"}
	program.argv[1] == "session"
	program.argv[2] in {"freeze", "lock", "kill"}
}

guarded_objections contains {
	"rule": "tamper.defenseclaw",
	"category": "tampering",
	"verdict": "deny",
	"severity": "CRITICAL",
	"message": sprintf("%s would stop, change or steer DefenseClaw, which watches this agent", [program.name]),
	"remedy": "Only the operator does that, from outside any agent",
	"evidence": [program.name],
	"confidence": 95,
} if {
	some program in suspects
	tampers(program)
}
