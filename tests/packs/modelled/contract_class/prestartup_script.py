import os

os.environ["CONTRACT_PRESTARTED"] = "yes"
