import { nothing } from "./absent.js";
