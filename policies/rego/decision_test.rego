# What holds for decisions as a whole, and the rules of who asks. Whole command lines are tested in the crate
# defenseclaw-policy (tests/decisions.rs), where the facts come from their text.
package defenseclaw.decision_test

import data.defenseclaw.decision

no_facts := {"programs": [], "reads": [], "writes": [], "hosts": [], "pipes": [], "privilege": [], "opaque": []}

call(tool, facts) := {
	"connector": "claude-code",
	"session": "claude-code/s",
	"mode": "action",
	"cwd": "/w",
	"tool": tool,
	"call_kind": {"kind": "command", "command": ""},
	"facts": object.union(no_facts, facts),
	"binding": {"state": "bound"},
}

program(argv) := {"name": argv[0], "argv": argv}

path(name, class) := {"path": name, "class": class}

rules(answer) := {finding.rule | some finding in answer.findings}

test_nothing_declared_is_allowed if {
	answer := decision.decision with input as call("Bash", {})
	answer.verdict == "allow"
	answer.severity == "NONE"
	answer.findings == []
	answer.reason != ""
}

test_the_strictest_verdict_and_the_highest_severity_win if {
	answer := decision.decision with input as call("Bash", {
		"reads": [path("/home/u/.ssh/id_rsa", "private-key")],
		"hosts": [{"host": "h"}],
		"privilege": ["sudo"],
	})
	answer.verdict == "deny"
	answer.severity == "CRITICAL"
	rules(answer) == {"credential.read", "credential.to-network", "privilege.raise"}
	contains(answer.reason, "network")
}

test_an_ask_alone_asks if {
	answer := decision.decision with input as call("Bash", {"privilege": ["sudo"]})
	answer.verdict == "ask"
	startswith(answer.reason, "Needs a person's approval")
}

test_forged_hook_is_denied if {
	answer := decision.decision with input as object.union(call("Bash", {}), {"binding": {"state": "forged", "caller": "pid 7"}})
	answer.verdict == "deny"
	rules(answer) == {"trust.forged-hook"}
}

test_missing_agent_alone_is_no_objection if {
	answer := decision.decision with input as object.union(call("Bash", {}), {"binding": {"state": "no_agent"}})
	answer.verdict == "allow"
}

test_both_modes_give_the_same_answer if {
	facts := {"reads": [path("/etc/shadow", "system-auth")]}
	action := decision.decision with input as call("Bash", facts)
	observe := decision.decision with input as object.union(call("Bash", facts), {"mode": "observe"})
	action == observe
}

test_paths_without_a_class_are_free if {
	answer := decision.decision with input as call("Bash", {"reads": [{"path": "/w/a"}], "writes": [{"path": "/w/b"}]})
	answer.verdict == "allow"
}

test_every_guarded_class_has_a_rule if {
	guarded := {class | some class, traits in data.classes; traits.guarded}
	covered := {class | some class, _ in decision.guard} | {"credential-folder"}
	guarded == covered
}

test_every_guarded_write_is_objected_to if {
	every class, wanted in decision.guard {
		answer := decision.decision with input as call("Write", {"writes": [path("/x", class)]})
		answer.verdict == wanted.verdict
		answer.severity == wanted.severity
		rules(answer) == {wanted.rule}
	}
}

test_new_keys_may_be_made if {
	answer := decision.decision with input as call("Bash", {
		"programs": [program(["ssh-keygen", "-f", "k"])],
		"writes": [path("/home/u/.ssh/id_k", "private-key")],
	})
	answer.verdict == "allow"
}

test_every_secret_class_is_refused_for_reading if {
	every class in [class | some class, traits in data.classes; traits.secret] {
		answer := decision.decision with input as call("Read", {"reads": [path("/x", class)]})
		answer.verdict == "deny"
	}
}

test_listing_a_credential_folder_is_free if {
	answer := decision.decision with input as call("Glob", {"reads": [path("/home/u/.ssh", "credential-folder")]})
	answer.verdict == "allow"
}

test_network_code_through_a_filter_is_denied if {
	answer := decision.decision with input as call("Bash", {
		"programs": [program(["curl", "x"]), program(["sed", "p"]), program(["bash", "-s"])],
		"pipes": [{"from": 0, "to": 1}, {"from": 1, "to": 2}],
	})
	rules(answer) == {"command.network-to-interpreter"}
}

test_network_data_for_a_script_is_free if {
	answer := decision.decision with input as call("Bash", {
		"programs": [program(["curl", "x"]), program(["python3", "read.py"])],
		"pipes": [{"from": 0, "to": 1}],
	})
	answer.verdict == "allow"
}

test_network_in_another_pipeline_is_free if {
	answer := decision.decision with input as call("Bash", {
		"programs": [program(["curl", "x"]), program(["jq", "."]), program(["cat", "f"]), program(["bash"])],
		"pipes": [{"from": 0, "to": 1}, {"from": 2, "to": 3}],
	})
	answer.verdict == "allow"
}

test_unreadable_commands_are_asked_about if {
	every why in ["unterminated", "too-deep", "too-large"] {
		answer := decision.decision with input as call("Bash", {"opaque": [{"why": why, "text": ""}]})
		answer.verdict == "ask"
	}
}

test_unresolved_words_are_free if {
	every why in ["expansion", "substitution", "interpreter"] {
		answer := decision.decision with input as call("Bash", {"opaque": [{"why": why, "text": ""}]})
		answer.verdict == "allow"
	}
}

# Rules look at the words of suspects only, so a list that rules use on suspects must be part of them.
test_lists_that_rules_look_into_are_suspects if {
	every list in ["interpreters", "shells", "evaluators", "wipe_programs", "mode_programs"] {
		every name, _ in data.lists[list] {
			data.lists.suspects[name]
		}
	}
}

test_another_hooks_folder_is_asked_about if {
	answer := decision.decision with input as call("Bash", {"programs": [program(["git", "config", "core.hooksPath", "/tmp/x"])]})
	rules(answer) == {"persistence.git-hooks"}
}

test_other_git_settings_are_free if {
	answer := decision.decision with input as call("Bash", {"programs": [program(["git", "config", "user.name", "x"])]})
	answer.verdict == "allow"
}
