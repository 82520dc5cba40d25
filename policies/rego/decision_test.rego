# How decision.rego weighs what was found, and what it knows by itself. Whole command lines are tested in the crate
# defenseclaw-policy (tests/decisions.rs), where facts and findings come from their text.
package defenseclaw.decision_test

import data.defenseclaw.decision

no_facts := {"programs": [], "reads": [], "writes": [], "hosts": [], "pipes": [], "privilege": [], "flows": [], "behaviours": [], "opaque": []}

calm := {"risk": 0, "taints": [], "denied": 0}

call(findings) := {
	"connector": "claude-code",
	"session": "claude-code/s",
	"mode": "action",
	"now_ns": 1000,
	"cwd": "/w",
	"tool": "Bash",
	"call_kind": {"kind": "command", "command": ""},
	"facts": no_facts,
	"findings": findings,
	"posture": calm,
	"binding": {"state": "bound"},
}

found(severity, confidence) := {
	"rule": lower(severity),
	"category": "command",
	"severity": severity,
	"message": "it does that",
	"remedy": "Do this",
	"evidence": ["e"],
	"confidence": confidence,
}

runs(name) := {"facts": object.union(no_facts, {"programs": [{"name": name, "argv": [name]}]})}

in_mode(mode, findings) := object.union(call(findings), {"mode": mode})

after(posture, findings) := object.union(call(findings), {"posture": object.union(calm, posture)})

of_server(pin) := {"mcp": {"server": "notes", "tool": "add", "pin": pin, "id": "0a1b2c3d4e"}}

test_a_changed_server_is_held_whatever_was_found if {
	every mode in ["observe", "action", "hitl"] {
		answer := decision.decision with input as object.union(in_mode(mode, []), of_server("changed"))
		answer.verdict == "deny"
		answer.clause == "held"
		answer.rule == "mcp.pin-changed"
		contains(answer.reason, "mcp pins diff 0a1b2c3d4e")
	}
	answer := decision.decision with input as object.union(call([found("MEDIUM", 90)]), of_server("changed"))
	answer.clause == "held"
}

test_a_server_that_did_not_change_is_not_held if {
	every pin in ["same", "unknown"] {
		answer := decision.decision with input as object.union(call([]), of_server(pin))
		answer.verdict == "allow"
		answer.clause == "clear"
	}
}

test_a_forged_call_of_a_held_server_is_refused_as_forged if {
	forged := {"binding": {"state": "forged", "caller": "pid 7"}}
	answer := decision.decision with input as object.union(object.union(call([]), of_server("changed")), forged)
	answer.clause == "forged"
}

test_nothing_found_is_allowed if {
	answer := decision.decision with input as call([])
	answer.verdict == "allow"
	answer.severity == "NONE"
	answer.findings == []
	answer.clause == "clear"
}

test_thresholds if {
	every expected in [
		["CRITICAL", 1, "deny"], ["CRITICAL", 100, "deny"],
		["HIGH", 80, "deny"], ["HIGH", 79, "ask"], ["HIGH", 1, "ask"],
		["MEDIUM", 65, "ask"], ["MEDIUM", 64, "allow"],
		["LOW", 100, "allow"], ["NONE", 100, "allow"],
	] {
		answer := decision.decision with input as call([found(expected[0], expected[1])])
		answer.verdict == expected[2]
		answer.severity == expected[0]
	}
}

test_the_strictest_verdict_wins_and_says_why if {
	answer := decision.decision with input as call([found("HIGH", 60), found("MEDIUM", 90), found("LOW", 5)])
	answer.verdict == "ask"
	answer.rule == "high"
	answer.reason == "Needs a person's approval: it does that. Do this."
	refused := decision.decision with input as call([found("CRITICAL", 10), found("HIGH", 60)])
	refused.reason == "Refused by policy: it does that. Do this."
}

test_a_finding_without_advice_gives_none if {
	answer := decision.decision with input as call([object.remove(found("CRITICAL", 10), ["remedy"])])
	answer.reason == "Refused by policy: it does that."
}

test_in_hitl_a_person_may_let_pass_what_is_not_critical if {
	asked := decision.decision with input as in_mode("hitl", [found("HIGH", 95)])
	asked.verdict == "ask"
	refused := decision.decision with input as in_mode("hitl", [found("CRITICAL", 95)])
	refused.verdict == "deny"
}

test_observe_gives_the_answer_of_action if {
	every findings in [[], [found("HIGH", 95)], [found("MEDIUM", 90)]] {
		action := decision.decision with input as in_mode("action", findings)
		observe := decision.decision with input as in_mode("observe", findings)
		action == observe
	}
}

test_forged_hook_is_denied if {
	forged := {"binding": {"state": "forged", "caller": "pid 7"}}
	answer := decision.decision with input as object.union(call([]), forged)
	answer.verdict == "deny"
	answer.rule == "trust.forged-hook"
	answer.findings[0].evidence == ["pid 7"]
}

test_missing_agent_alone_is_no_objection if {
	answer := decision.decision with input as object.union(call([]), {"binding": {"state": "no_agent"}})
	answer.verdict == "allow"
}

test_the_canary_is_refused_in_every_mode if {
	every mode in ["observe", "action", "hitl"] {
		answer := decision.decision with input as object.union(in_mode(mode, []), runs("defenseclaw-canary-denied"))
		answer.verdict == "deny"
		answer.rule == "doctor.canary"
	}
}

test_what_the_gate_refused_is_not_used if {
	refused := {"kind": "skill", "name": "pdf", "path": "/h/.claude/skills/pdf", "reason": "HIGH: [\"skill.exfil\"]."}
	answer := decision.decision with input as object.union(call([found("LOW", 90)]), {"artifacts": [refused]})
	answer.verdict == "deny"
	answer.rule == "gate.refused-artifact"
	answer.clause == "refused-artifact"
	contains(answer.reason, "the skill pdf in /h/.claude/skills/pdf, which was refused: HIGH: [\"skill.exfil\"]. A person")
	alone := decision.decision with input as object.union(call([]), {"artifacts": [refused]})
	alone.verdict == "deny"
	other := decision.decision with input as call([found("LOW", 90)])
	other.verdict == "allow"
}

test_other_programs_are_no_canary if {
	answer := decision.decision with input as object.union(call([]), runs("echo"))
	answer.verdict == "allow"
}

test_what_a_rule_says_is_asked_before_what_the_model_says if {
	likely := object.union(found("MEDIUM", 65), {"rule": "learned.call"})
	alone := decision.decision with input as call([likely])
	alone.verdict == "ask"
	alone.rule == "learned.call"
	both := decision.decision with input as call([likely, found("MEDIUM", 65)])
	both.rule == "medium"
}

test_risen_risk_asks_about_what_would_pass if {
	noted := [found("MEDIUM", 50)]
	calmly := decision.decision with input as after({"risk": 10}, noted)
	calmly.verdict == "allow"
	risen := decision.decision with input as after({"risk": 80, "denied": 3}, noted)
	risen.verdict == "ask"
	risen.rule == "risk.session"
	plain := decision.decision with input as after({"risk": 80}, [])
	plain.verdict == "allow"
}

test_text_that_steers_makes_doubtful_calls_asked_about if {
	led := decision.decision with input as after({"taints": ["untrusted-text"]}, [found("MEDIUM", 50)])
	led.rule == "risk.after-untrusted-text"
	plain := decision.decision with input as after({"taints": ["untrusted-text"]}, [found("LOW", 90)])
	plain.verdict == "allow"
}

test_sending_after_a_secret_was_read_is_asked_about if {
	upload := {"facts": object.union(no_facts, {"behaviours": [{"kind": "exfiltration", "technique": "upload"}]})}
	tainted := decision.decision with input as object.union(after({"taints": ["secret-read"]}, []), upload)
	tainted.verdict == "ask"
	tainted.rule == "risk.send-after-secret"
	clean := decision.decision with input as object.union(call([]), upload)
	clean.verdict == "allow"
	fetching := decision.decision with input as object.union(after({"taints": ["secret-read"]}, []), runs("git"))
	fetching.verdict == "allow"
}

test_a_room_takes_a_person_s_place_only_where_the_data_says_so if {
	doubtful := [found("MEDIUM", 90)]
	own := {"sandbox": "workspace"}
	narrower := {"MEDIUM": "network-none"}
	as_built_in := decision.decision with input as object.union(call(doubtful), own)
	as_built_in.verdict == "ask"
	not as_built_in.sandbox
	answer := decision.decision with input as object.union(call(doubtful), own) with data.decision.sandbox.instead_of_asking as narrower
	answer.verdict == "allow"
	answer.sandbox == "network-none"
	answer.clause == "sandboxed"
	high := decision.decision with input as object.union(call([found("HIGH", 60)]), own) with data.decision.sandbox.instead_of_asking as narrower
	high.verdict == "ask"
	outside := decision.decision with input as call(doubtful) with data.decision.sandbox.instead_of_asking as narrower
	outside.verdict == "ask"
}

test_no_room_takes_a_person_s_place_in_a_session_with_something_to_its_name if {
	every posture in [{"taints": ["secret-read"]}, {"taints": ["untrusted-text"]}, {"risk": 80}] {
		asked := object.union(after(posture, [found("MEDIUM", 90)]), {"sandbox": "workspace"})
		answer := decision.decision with input as asked with data.decision.sandbox.instead_of_asking as {"MEDIUM": "strict"}
		answer.verdict == "ask"
	}
}

test_what_is_refused_stays_refused_in_any_room if {
	refused := object.union(call([found("CRITICAL", 90)]), {"sandbox": "strict"})
	answer := decision.decision with input as refused with data.decision.sandbox.instead_of_asking as {"CRITICAL": "strict", "HIGH": "strict"}
	answer.verdict == "deny"
}
