package simulate

import "time"

// JSON is what WriteText says, as a value with the names that it has in JSON. All
// times are in seconds; null is never.
type JSON struct {
	Name      string         `json:"name"`
	VRID      uint8          `json:"vrid"`
	Version   uint8          `json:"version"`
	IPv6      bool           `json:"ipv6"`
	Interval  float64        `json:"interval_seconds"`
	Directors []jsonDirector `json:"directors"`
	Notes     []string       `json:"notes"`

	Start    jsonSpan   `json:"start"`
	Crash    jsonSpan   `json:"crash"`
	CrashGap jsonSpan   `json:"crash_gap"`
	Stop     jsonSpan   `json:"stop"`
	StopGap  jsonSpan   `json:"stop_gap"`
	Return   jsonSpan   `json:"return"`
	Restart  *float64   `json:"restart_noticed_seconds"`
	Pause    *float64   `json:"pause_causes_takeover_seconds"`
	Certain  *float64   `json:"pause_always_causes_takeover_seconds"`
	Backup   bool       `json:"pause_of_backup_causes_takeover"`
	Delay    *float64   `json:"delay_causes_takeover_seconds"`
	Jitter   *float64   `json:"jitter_causes_takeover_seconds"`
	Losses   []jsonLoss `json:"losses"`
	Deaf     jsonCut    `json:"backup_does_not_hear_master"`
	Mute     jsonCut    `json:"master_does_not_hear_backup"`
	Advised  *float64   `json:"advised_interval_seconds"`
	Noticed  *float64   `json:"advised_crash_noticed_seconds"`
}

type jsonDirector struct {
	Name     string `json:"name"`
	Priority uint8  `json:"priority"`
	Assumed  bool   `json:"assumed"`
}

type jsonSpan struct {
	Shortest *float64 `json:"shortest_seconds"`
	Longest  *float64 `json:"longest_seconds"`
	Never    bool     `json:"never"` // at least once
}

type jsonLoss struct {
	Rate      float64  `json:"rate"`
	Takeovers int      `json:"takeovers"`
	PerDay    float64  `json:"takeovers_per_day"`
	First     *float64 `json:"first_seconds"`
	Simulated float64  `json:"simulated_seconds"`
}

type jsonCut struct {
	Length float64 `json:"length_seconds"`
	Two    float64 `json:"two_masters_seconds"`
	After  float64 `json:"two_masters_afterwards_seconds"`
}

// JSON returns r as it is written in JSON.
func (r Report) JSON(e Election) JSON {
	first := e.Directors[0].Config
	j := JSON{
		Name: e.Name, VRID: e.VRID, Version: uint8(first.Version), IPv6: e.IPv6, Interval: first.Interval.Seconds(),
		Directors: []jsonDirector{}, Notes: append([]string{}, e.Notes...),
		Start: span(r.Start, false), Crash: span(r.Crash, false), CrashGap: span(r.CrashGap, true), Stop: span(r.Stop, false),
		StopGap: span(r.StopGap, true), Return: span(r.Return, false),
		Restart: inSeconds(r.Restart), Pause: inSeconds(r.Pause), Certain: inSeconds(r.Certain), Backup: r.Backup,
		Delay: inSeconds(r.Delay), Jitter: inSeconds(r.Jitter), Losses: []jsonLoss{},
		Deaf:    jsonCut{r.Deaf.Length.Seconds(), r.Deaf.Two.Seconds(), r.Deaf.After.Seconds()},
		Mute:    jsonCut{r.Mute.Length.Seconds(), r.Mute.Two.Seconds(), r.Mute.After.Seconds()},
		Advised: inSeconds(r.Advice.Interval), Noticed: inSeconds(r.Advice.Noticed),
	}
	for _, d := range e.Directors {
		j.Directors = append(j.Directors, jsonDirector{d.Name, d.Priority, d.Assumed})
	}
	for _, l := range r.Losses {
		j.Losses = append(j.Losses, jsonLoss{l.Rate, l.Takeovers, l.PerDay(), inSeconds(l.First), l.Simulated.Seconds()})
	}
	return j
}

// inSeconds returns nil for 0, which stands for what did not happen.
func inSeconds(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

// span writes s; a gap of 0 is one, and a time of 0 is none.
func span(s Span, gap bool) jsonSpan {
	if gap {
		a, b := s.Shortest.Seconds(), s.Longest.Seconds()
		return jsonSpan{&a, &b, s.Never}
	}
	return jsonSpan{inSeconds(s.Shortest), inSeconds(s.Longest), s.Never}
}
