package dashboards

// agents is what there is to see of agents, leases and coordinators.
func agents() Dashboard {
	return Dashboard{
		Name: "agents", Title: "Agents and leases", Description: "Who works, who owns what, and how often that changes without being meant to.",
		Rows: []Row{
			{"Agents", []Panel{
				graph("Alive", "1 while an agent's session on the node is alive.", count, Query{`max by (node) (hayloft_node_agent_alive)`, "{{node}}"}),
				graph("Jobs by node", "Assigned and not ended, against the limit.", count,
					Query{`max by (node) (hayloft_node_jobs) or max by (node) (hayloft_node_agent_alive * 0)`, "{{node}}"}, Query{`max(hayloft_node_jobs_limit)`, "limit"}),
				graph("Jobs by type", "That agents work on.", count, Query{`sum by (type) (hayloft_agent_jobs)`, "{{type}}"}),
				graph("Duration of jobs", "On agents, over six hours.", seconds, percentiles("hayloft_agent_job_duration_seconds", "type")...),
				graph("Failed jobs by reason", "Per hour.", count,
					Query{`sum by (type, reason) (increase(hayloft_agent_job_failures_total[1h]))`, "{{type}} {{reason}}"}),
				graph("Volumes by node", "Attached Longhorn volumes.", count, Query{`max by (node) (hayloft_node_volumes)`, "{{node}}"}),
			}},
			{"Leases", []Panel{
				graph("Volume leases held", "By sessions of the node.", count, Query{`max by (node) (hayloft_volume_leases_held)`, "{{node}}"}),
				graph("Wait for leases", "Over six hours.", seconds, percentiles("hayloft_agent_lease_wait_seconds", "type")...),
				graph("Heartbeat", "Renewals of sessions. One that takes ten seconds ends its session.", seconds,
					Query{quantile("0.99", "hayloft_agent_heartbeat_duration_seconds", "rate(%s[$__rate_interval])", ""), "p99"}),
				graph("Sessions lost", "Per hour, by agent.", count, Query{`sum by (instance) (increase(hayloft_agent_sessions_lost_total[1h]))`, "{{instance}}"}),
				graph("Sessions opened", "Per hour, by agent. One for each start of an agent.", count, Query{`sum by (instance) (increase(hayloft_agent_sessions_total[1h]))`, "{{instance}}"}),
				graph("Takeovers and fenced attempts", "Per hour. Each fenced attempt has a takeover somewhere.", count,
					Query{`sum(increase(hayloft_agent_takeovers_total[1h]))`, "taken over"},
					Query{`sum(increase(hayloft_agent_fenced_total[1h]))`, "fenced"},
					Query{`sum(increase(hayloft_jobs_reassigned_total[1h]))`, "reassigned"}),
			}},
			{"Cuts", []Panel{
				graph("Cuts by consistency", "Per hour.", count, Query{`sum by (consistency) (increase(hayloft_agent_cuts_total[1h]))`, "{{consistency}}"}),
				graph("Cut window", "From the first snapshot asked for to the last one cut, over six hours.", seconds, percentiles("hayloft_agent_cut_window_seconds", "")...),
				graph("Freeze", "How long guests were frozen, or their containers paused, over six hours.", seconds, percentiles("hayloft_agent_freeze_seconds", "way")...),
				graph("Hooks", "How long commands took that VMs declare, over six hours.", seconds, percentiles("hayloft_agent_hook_duration_seconds", "hook")...),
				graph("Hooks that failed", "Per hour.", count, Query{observed("hayloft_agent_hook_duration_seconds", `{outcome="failed"}`, "hook"), "{{hook}}"}),
			}},
			{"Coordinators", []Panel{
				graph("Leader", "1 for the one that leads.", count, Query{`max by (instance) (hayloft_leader)`, "{{instance}}"}),
				graph("Leads since", "Goes back to nothing when another one leads.", seconds, Query{`time() - max(hayloft_leader_since_timestamp_seconds)`, "leader"}),
				graph("Leftovers removed", "Per hour: what killed processes had left.", count, Query{`sum by (kind) (increase(hayloft_swept_total[1h]))`, "{{kind}}"}),
				graph("Webhook", "How long its answers take, over six hours.", seconds, percentiles("hayloft_webhook_duration_seconds", "kind")...),
				graph("Refused by the webhook", "Per hour.", count, Query{`sum by (kind, reason) (increase(hayloft_webhook_refusals_total[1h]))`, "{{kind}} {{reason}}"}),
				graph("Reading objects for metrics", "Time of each collector in a scrape.", seconds, Query{`max by (collector) (hayloft_scrape_collector_duration_seconds)`, "{{collector}}"}),
				table("Versions", "Of coordinators and agents.", count, `count by (version, goversion) (hayloft_build_info)`),
				table("Collectors", "1 while it can read its objects.", count, `min by (collector) (hayloft_scrape_collector_success)`),
			}},
			{"HTTP API", []Panel{
				graph("Requests by status code", "401 and 403 are callers without credentials or rights, 429 and 503 those that a limit turned away.", perSecond,
					Query{`sum by (code) (rate(hayloft_api_requests_total[$__rate_interval]))`, "{{code}}"}),
				graph("Duration of requests", "Over six hours, streams left out.", seconds, percentiles("hayloft_api_request_duration_seconds", "route")...),
				graph("Turned away", "Per hour, by the limit.", count, Query{`sum by (limit) (increase(hayloft_api_limited_requests_total[1h]))`, "{{limit}}"}),
				graph("Being worked on", "", count,
					Query{`sum(hayloft_api_requests_in_flight)`, "requests"}, Query{`sum(hayloft_api_streams)`, "streams"}),
			}},
		},
	}
}
