"""How long an episode of each family of worlds lasts, without building one: gymnasium's ids say it."""

LIMITS = {  # control steps
    "sawyer": 400,  # 20 s
    "dmc": 1000,
    "antmaze": 3000,  # 60 s
    "fetch": 100,  # gymnasium-robotics has 50
    "point": 200,
}
ENDLESS = 2**30  # control steps of a world whose episodes are cut by whoever steps it
