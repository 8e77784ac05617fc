"""Where the joints of people are (ViTPose): a vision transformer and a head that draws one map of likelihood for each joint."""
