"""What every other layer stands on: contracts, configs, the run folder, statistics, random streams, figures, errors."""
