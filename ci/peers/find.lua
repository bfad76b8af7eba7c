-- FIND of ten peers of a swarm of 200, by 20 000 peers in turn as they are drawn. Written before anything is asked, so that
-- the client is not the limit.
local questions = {}

function init()
  for r = 0, 19999 do
    local id = string.format("u%07d", r)
    local body = string.format('{"PPSPTrackerProtocol":{"version":1,"request_type":"FIND","transaction_id":"w-%d","peer_id":"%s","find":{"swarm_id":"s%05d","peer_num":{"peer_count":10}}}}', r, id, r % 100)
    local headers = { ["Content-Type"] = "application/ppsp-tracker+json", ["X-3GPP-Asserted-Identity"] = '"sip:' .. id .. '@ims.example"' }
    for name, value in pairs(wrk.headers) do headers[name] = value end
    questions[r] = wrk.format("POST", "/ppstp", headers, body)
  end
end

function request()
  return questions[math.random(0, 19999)]
end
